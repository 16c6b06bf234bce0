"""The sentences that state a label and nothing else. What is not listed here is no answer.

A sentence can take a word back in any number of ways, so that a grammar of doubt could not be complete. This is a
grammar of statements instead. A statement has a subject, a verb in the present tense, the label, and then it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dsplus_chains.prompting.answer_words import ADJECTIVES, ANSWERS, ATTRIBUTES, FOREIGN, INPUTS, PEOPLE, either
from dsplus_chains.prompting.hints import NONE_OF_THESE
from dsplus_chains.prompting.matching import Forms, alike, asks, bare, plain

_NOUN = rf"(?:(?:{either(ATTRIBUTES)}|classification|text|intent) )?(?:{either((*ANSWERS, *ATTRIBUTES))})"
_INPUT = rf"(?:(?:given|provided|above|following|customer|user|product|movie|text|whole) )?(?:{either(INPUTS)})"
_PERSON = either(PEOPLE)
_OF = (
    r"(?: (?:expressed|conveyed|detected))?"
    rf"(?: (?:of|for|in|by|behind) (?:the |this |that |your )?{_INPUT}(?: above| here)?)?"
)
_BEST = f"(?:(?:{either(('best fitting', *ADJECTIVES))}) )*"
_THING = (
    rf"(?:(?:the|this|that|your) (?:{_INPUT}|{_PERSON})(?:'s (?:{_BEST}(?:{_NOUN}|{either(INPUTS)})))?"
    rf"|(?:the|its) {_BEST}(?:{_NOUN}){_OF}|it|this|that)"
)
_SURE = "(?:clearly|definitely|certainly|unambiguously|overwhelmingly|overall|very|strongly|highly|extremely) "
_CALLED = "(?:classified|categori[sz]ed|labell?ed|rated|tagged|marked)"
_CALL = "(?:classify|categori[sz]e|label|rate|tag|mark)"
_BASIS = rf"(?:(?:content|wording|language|tone|context|information|description|details|text|words){_OF}|{_INPUT})"

_SO = re.compile(
    r"(?:so|thus|therefore|hence|overall|ultimately|finally|accordingly|consequently|all in all|in the end|in short|"
    r"in conclusion|in summary|to conclude|to sum up)[,:]? "
)
_LEAD = re.compile(
    r"(?:(?:based on|judging (?:by|from)|given|considering|after (?:analy[sz]ing|reading|reviewing|considering))"
    rf" (?:(?:the|this|your|its) )?{_BASIS}(?: and (?:the )?{_BASIS})?(?: provided| given| above)?"
    r"|in (?:my (?:opinion|view)|this case)|clearly|for this [a-z]+), "
    r"|(?:i|we) (?:(?:would )?say|think|feel|believe|conclude)(?: that)? |(?:i|we)'d say(?: that)? "
)
_FOREIGN = tuple(map(alike, FOREIGN))
_ABROAD = (
    rf"(?:(?:die|das|der|la|le|el|il|o|a|het|η) |l'|我的|最终|最終)?(?P<foreign>{either(_FOREIGN)})"
    r"(?: ?(?:是|为|為|は|은|는)| (?:ist|est|es|è|é|هي|هو|это|är|is)\b|(?!\w))"
)
"""A name for the answer in another language, with a verb or without one."""
_MARKER = re.compile(
    r"(?:(?:(?:sure|okay|ok|certainly|of course)[,!] )?here(?:'s| is) )?(?P<model>(?:the )?predicted )?"
    rf"(?P<own>my |the final |final )?(?:(?:the|this|its|your) )?{_BEST}(?:(?P<noun>{_NOUN})\b|{_ABROAD}){_OF}"
    r"[\"'`*)\] ]*(?:(?:is|are)\b(?: as follows)?)?(?P<sign>[ \"'`*]*(?::|=>|->|[=|→]|-(?= )))* *"
)
_PREDICATE = re.compile(
    rf"{_THING}(?: is (?:{_SURE})?{_CALLED} as|'s about| is about|'s| is| reads as| falls (?:under|into)"
    r"| belongs (?:to|in)| fits (?:under|into)):? "
    r"|[这這该該此本][条條篇段个個则]?(?:评论|評論|文本|消息|句子|留言|内容)?(?:的?(?:情感|态度))?[是为為][: ]*"
)
_CARRIES = re.compile(rf"{_THING} (?:has|expresses|conveys|carries|shows) ")
_ACT = re.compile(
    rf"(?:i|we)(?:(?: would| will|'d|'ll)? {_CALL}| (?:have|'ve) {_CALLED}|'ve {_CALLED}) {_THING} as:? "
    rf"|(?:i|we)(?: would| will|'d|'ll)? (?:(?:call|consider|label|rate) {_THING}"
    rf"|(?:choose|pick|select|say|answer|go with|assign|give {_THING})(?: (?:the|a) (?:{_NOUN})(?: of)?)?):? "
)
_ARTICLE = re.compile(r"(?:a|an|the) ")
_CERTAIN = re.compile(_SURE)
_TAIL = re.compile(
    r",? (?:i think|i believe|i(?: would|'d) say|to me|in my (?:opinion|view)|as i said|overall)$"
    "|(?:です|である|だ|입니다|이에요|예요|的)$"
)
_NOUN_TAIL = re.compile(rf" (?P<noun>{_NOUN}|{either(INPUTS)}|issue|problem|inquiry|matter|concern){_OF}$")
_STARS = re.compile(r"(?<=\d)(?: ?[★⭐]| (?:stars?|points?))$")
_OPINION = {"sentiment", "tone", "mood", "attitude", "opinion", "stance", "feeling", "emotion", "polarity", "intent"}
_DETERMINERS = re.compile(r"(?:the |a )?(?:no|any|all|some|same|one|another|each|every|more|most|less|least|\d+)")
_NUMBER = r"[~≈]? ?(?:\d{1,3}(?:[.,]\d{1,6})?|[.,]\d{1,6})(?: ?%|/(?:5|10|100)\b)?"
_DEGREE = r"(?:very |quite |fairly |rather )?(?:high|medium|moderate|low)"
_SURENESS = r"(?:confidence|conf\.?|certainty|probability|prob\.?|score|p|置信度|概率)"
_NOTE = re.compile(
    rf"(?: ?[(\[,;:|\-]+ ?| with )(?:a )?(?:(?:my )?{_SURENESS}(?: level| score)?(?: of| is)?[ :=]*"
    rf"(?:{_NUMBER}|{_DEGREE})|{_DEGREE} {_SURENESS}"
    rf"|(?:i am |i'm )?(?:{_NUMBER}|very|quite|fairly|absolutely) (?:{_SURENESS}|confident|sure|certain))$"
)
_SHARE = re.compile(r" ?[(\[,|:~\-@]+ ?(?:≈ ?)?(?:(?P<percent>\d{1,3}(?:\.\d{1,6})?) ?%|(?P<share>[01]\.\d{1,6}))$")
_GLOSS = re.compile(
    r"(?P<number>-?\d+(?:\.00?)?) ?(?:[(\[:,=|]|- ?)[ (\[]*"
    r"(?:(?:very|extremely|strongly|highly|completely|somewhat|rather|quite|slightly|mostly|above|below) )?"
    r"(?:excellent|superb|exceptional|amazing|wonderful|decent|satisfactory|acceptable|outstanding"
    r"|perfect|great|good|fine|fair|average|mediocre|okay|ok|neutral|mixed|medium|moderate|poor"
    r"|bad|terrible|awful|horrible|worst|best|positive|negative|satisfied|dissatisfied|unsatisfied|happy|unhappy|low"
    r"|high|agree|disagree|none|mild|severe|critical|urgent)$"
)
_CONFIRMED = re.compile(r"(yes|no|true|false), (?:it|this|that|there)(?:'s| is)( not)?(?: \w{1,40}e[nd])?$")
_NONE = re.compile(
    rf"{NONE_OF_THESE}(?: (?:labels|categories|classes|answers|options|choices))?"
    rf"(?: (?:fits?|appl(?:y|ies)|match(?:es)?)(?: (?:the|this) {_INPUT})?)?"
)
_ANNOUNCING = {*ANSWERS, *_FOREIGN} - {"result", "output", "conclusion"}
_EMPHASIS = re.compile(r"[*`]+")
_QUOTED = re.compile(r"[\s*_>-]*[\"“„«'‘「『]")


class Statement(NamedTuple):
    """A label that a sentence states.

    Args:
        form: The label's form. None if the sentence announces its answer, but that is no label.
        bare: Whether the sentence is the label, or a name for the answer and the label ("Label: spam").
        own: Whether the sentence says whose answer it is ("I would choose spam", "So it is spam", "Label: spam").
    """

    form: str | None
    bare: bool = False
    own: bool = False


LEVELS = 3
"""Most names for the answer inside one another, as in "Answer: the label is: it is spam"."""


def stated(sentence: str, forms: Forms) -> Statement | None:
    """The label that a line or a sentence states. None if it states none, or says more than that.

    Example:
        >>> forms = Forms(["lost", "card lost"], {})
        >>> stated("The label is: Card_Lost.", forms)
        Statement(form='card lost', bare=True, own=True)
        >>> stated("It may be lost", forms), stated("It is lost, he says", forms)
        (None, None)
    """
    if len(sentence) > forms.limit:
        return None
    text = plain(sentence)
    form = forms.find_plain(text) or forms.described(sentence)
    if form is None and not asks(sentence):
        if len(parts := _EMPHASIS.split(sentence)) > 1:
            text = plain("".join(parts))
            if forms.find_plain(text) and any(map(forms.find, parts[1::2])):
                return None  # where both are labels, "very **good**" may be either
        if not forms.occur_in(text) and NONE_OF_THESE not in text:
            return Statement(None, own=True) if _announces(text) else None
        if told := _told(text, forms, quoted=_QUOTED.match(sentence) is not None):
            return told
        form = _noted(text, forms)
    return None if form is None else Statement(form, bare=True)


def _announces(text: str) -> bool:
    """Whether a sentence announces its answer, as "Label: ..." does."""
    marker = _MARKER.match(text)
    return bool(
        marker
        and marker["sign"]
        and (marker["foreign"] or marker["noun"].split()[-1]) in _ANNOUNCING
        and text[marker.end() :]
    )


def _told(text: str, forms: Forms, *, quoted: bool = False, levels: int = LEVELS) -> Statement | None:
    """What a sentence states behind an opener, and behind its name for the answer or its subject and verb.

    Args:
        text: The sentence, in the form in which it is compared.
        forms: The labels' forms.
        quoted: Whether it begins with a quote.
        levels: Most names for the answer that may still stand inside one another.
    """
    start, concluded = 0, False
    while opener := _SO.match(text, start) or _LEAD.match(text, start):
        concluded |= opener.re is _SO
        start = opener.end()
    rest = text[start:]
    if start and not quoted and (form := _noted(rest, forms)):
        return Statement(form, own=True)
    if marked := _marked(rest, forms, levels):
        statement, signed = marked
        if not quoted or signed:
            return statement._replace(own=statement.own or concluded)
    for pattern in () if quoted else (_ACT, _PREDICATE, _CARRIES):
        if head := pattern.match(rest):
            slot = rest[head.end() :]
            form = _noted(slot, forms, noun=pattern is _CARRIES)
            if form is None and (marked := _marked(slot, forms, levels - 1)):
                form = marked[0].form
            if form is not None:
                return Statement(form, own=concluded or pattern is _ACT)
    return None


def _marked(text: str, forms: Forms, levels: int) -> tuple[Statement, bool] | None:
    """The statement behind a name for the answer, and whether a sign such as a colon stands between them."""
    marker = _MARKER.match(text)
    slot = text[marker.end() :] if marker else ""
    if not marker or not slot:
        return None
    signed = marker["sign"] is not None
    if not signed and (marker["model"] or marker["noun"] == "prediction"):
        return None  # the small model's, perhaps
    form = _noted(slot, forms)
    if form is None and signed and levels > 0 and (inner := _told(slot, forms, levels=levels - 1)):
        form = inner.form
    if form is None and not _announces(text):
        return None
    return Statement(form, bare=True, own=signed or marker["own"] is not None), signed


def _noted(slot: str, forms: Forms, *, noun: bool = False) -> str | None:
    """The label in the place where one was announced, with what may stand around it there.

    Args:
        slot: The rest of a sentence.
        forms: The labels' forms.
        noun: Whether a noun must follow, as in "expresses a negative sentiment".
    """
    for head, named in _heads(slot):
        if named in _OPINION or not noun:
            form = _certain(head, forms)
            if form is not None:
                return form
    if confirmed := _CONFIRMED.match(slot):
        return None if confirmed[1] in {"yes", "true"} and confirmed[2] else forms.find(confirmed[1])
    gloss = _GLOSS.match(slot)
    return forms.find(gloss["number"]) if gloss else None


def _heads(slot: str) -> Iterator[tuple[str, str]]:
    """What a slot may hold as its label, and the noun that was taken off behind it."""
    head, named = slot, ""
    yield head, named
    for _ in range(3):
        tail = _NOTE.search(head) or _TAIL.search(head) or _STARS.search(head) or _likely(_SHARE.search(head))
        if tail is None and not named:
            tail = _NOUN_TAIL.search(head)
            if tail and not _DETERMINERS.fullmatch(head[: tail.start()]):
                named = tail["noun"]
            else:
                return
        elif tail is None:
            return
        head = head[: tail.start()]
        yield head, named


def _likely(found: re.Match[str] | None) -> re.Match[str] | None:
    """A share behind a label, if it speaks for it. A number before it may be the beginning of a range."""
    if found is None or found.string[: found.start()].lstrip("+-").isdigit():
        return None
    return found if float(found["percent"] or 0) >= 50 or float(found["share"] or 0) >= 0.5 else None


def _certain(head: str, forms: Forms) -> str | None:
    """The label behind an article and a word of certainty. "Very good" is not "good" where both are labels."""
    text = bare(head)
    form = _find(text, forms)
    for pattern in (_ARTICLE, _CERTAIN):
        if form is None and (word := pattern.match(text)):
            text = text[word.end() :]
            form = _find(text, forms)
    return form


def _find(text: str, forms: Forms) -> str | None:
    form = forms.find(text) or forms.described(text)
    return NONE_OF_THESE if form is None and _NONE.fullmatch(plain(text)) else form
