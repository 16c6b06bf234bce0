"""Whether what stands behind an answer only gives its reason.

What takes an answer back cannot be listed. So this lists how a reason begins, and what it speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dsplus_chains.prompting.answer_words import INPUTS, PEOPLE, either
from dsplus_chains.prompting.matching import Forms, alike, asks, spaced

_CALLED = (
    r"(?:\b(?:is|are|be|being|was|were|as|to|seems|appears|looks|sounds|reads)|'s|:)"
    r"(?: (?:\w{{1,20}}ly|very|an?|the|more|rather|really|also|be)){{0,4}} {0}(?!\w)"
    r"(?: ?$| ?[.,;:!?)\"]| (?:and|but|or|in|at|on|here|instead)\b)"
    r"|(?<!\w){0} (?:fits|would|is|may|might|could|suits|applies)\b"
    r"|\b(?:no|nope|wait|actually|sorry|rather)[,:.;!-]{{1,3}} {0}(?!\w)"
)
"""Where a sentence says that something is a label."""
_DENIED = (
    r"(?:\b(?:not|no|nothing|never|hardly|anything but|far from|less|lacks?|without)\b|n't)"
    r"(?:\W{{1,3}}\w{{1,20}}){{0,2}}?\W{{1,3}}{0}(?!\w)"
)
"""Where a sentence says that nothing is it."""
_DENIES = re.compile(
    r"\b(?:it|this|that)(?: (?:is|was|may|might|could|should|would|can)(?:n't| not)|'s not)(?: be)?"
    r"(?: (?:so|true|right|it|the case|correct))?[.!]*$"
)

LONGEST_REASON = 2000
"""Number of characters above which a sentence is no reason."""

_HEADER = re.compile(
    r"(?:(?:brief|short|my|the|key) )?(?:reasons?|reasoning|explanation|rationale|justification|analysis|evidence|why"
    r"|confidence|certainty|probability|score|key (?:points|phrases|words))"
    r"(?: (?:for|of|behind) (?:the|this|my) \w{1,20})? ?(?::|-|$)|(?:because|since|this is because) "
)
_VERB = (
    r"(?:mentions?|complains?|praises?|express(?:es)?|describes?|reports?|states?|indicates?|shows?|contains?|uses?"
    r"|asks?|wants?|requests?|needs?|likes?|loves?|enjoys?|dislikes?|hates?|critici[sz]es?|highlights?|emphasi[sz]es?"
    r"|conveys?|notes?|points? out|talks?|discuss(?:es)?|refers?|recommends?|suggests?|reflects?|demonstrates?|thanks?"
    r"|offers?|promises?|appreciates?|reveals?|is (?:very |clearly |quite )?(?:upset|angry|frustrated|happy|unhappy"
    r"|satisfied|dissatisfied|disappointed|pleased|annoyed|delighted|asking|looking|requesting|complaining|reporting"
    r"|praising))"
)
_WHO = rf"(?:the|this|that) (?:\w{{1,20}} ){{0,2}}(?:{either((*INPUTS, *PEOPLE))})(?:'s \w{{1,20}})?"
_SAYS = re.compile(
    rf"(?:(?:also|additionally|moreover|furthermore|in addition|overall),? )?(?:{_WHO}|he|she|they|it"
    rf"|(?:phrases|words|terms|expressions|statements)\b.{{0,200}})(?: \w{{1,20}}ly)? (?:also )?{_VERB}\b"
)
_LOOSE = re.compile(
    r"(?:the|this|these|those|they|he|she|it|his|her|its|their|there|such|phrases?|words?|terms?|also|additionally"
    r"|moreover|furthermore|for (?:example|instance)|both|while|with|by|overall)\b|\""
)
ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")
"""How an item of a list begins."""
_CLOSING = re.compile(
    r"(?:done|let me know|(?:i )?hope (?:this|that|it) helps|feel free|thanks?|thank you|would you like|do you want"
    r"|is there anything|if you (?:have|need|want))\b"
)
_QUOTATION = re.compile(r"\"[^\"]*\"")
_TURN = re.compile(
    r"\b(?:i|i'm|i'd|i've|me|my|we|let's|actually|however|wait|instead|wrong|mistake\w*|opposite|otherwise|contrary"
    r"|sarcas\w*|iron(?:y|ic\w*)|jok(?:e|es|ing)|kidding|reverse|lies?|lying|fake"
    r"|pretend\w*|untrue|false|(?:re)?check|needs? (?:\w{1,20} )?review|verify|confirm\w*|doubt\w*|unclear"
    r"|label|answer|classification|verdict)\b"
)
"""A net below the grammar: words with which a reason speaks of the answer, or turns against it."""


def explain(sentences: Sequence[str]) -> bool:
    """Whether sentences behind an answer give its reason, or are polite, and nothing more.

    Each one has to tell what the input says, or has to be headed as a reason. What follows a heading is free, as long
    as it speaks neither of the answer nor of a change of mind.

    Example:
        >>> explain(["The reviewer praises the screen."]), explain(["Reason: fine screen.", "It is bright."])
        (True, True)
        >>> explain(["He lies."]), explain(["Reason: fine screen.", "Wait, it is broken."])
        (False, False)
    """
    headed = False
    for sentence in sentences:
        if len(sentence) > LONGEST_REASON:
            return False
        text = simple(sentence)
        if _CLOSING.match(text):
            continue
        if _HEADER.match(text):
            headed = True
        elif headed:
            if not (_LOOSE.match(text) or ITEM.match(sentence)):
                return False
        elif not _SAYS.match(text):
            return False
        if asks(sentence) or _TURN.search(_QUOTATION.sub("", text)):
            return False
    return True


def contradict(sentences: Sequence[str], form: str, forms: Forms) -> bool:
    """Whether sentences behind an answer call something another label, or deny the answer's own.

    Example:
        >>> forms = Forms(["good", "bad"], {})
        >>> contradict(["Reason: The film is bad."], "good", forms), contradict(["It is not good."], "good", forms)
        (True, True)
        >>> contradict(["Reason: There are bad scenes."], "good", forms)
        False
    """
    for sentence in sentences:
        text = spaced(simple(sentence))
        if _DENIES.search(text):
            return True
        for other, labels in forms.labels_of.items():
            if other in text:
                pattern = _DENIED if labels == forms.labels_of.get(form) else _CALLED
                if re.search(pattern.format(re.escape(other)), text):
                    return True
    return False


def simple(text: str) -> str:
    """A sentence in lower case, without emphasis and without what marks a heading or an item."""
    return alike(text).replace("*", "").replace("`", "").strip(" \t#-_•(|>")
