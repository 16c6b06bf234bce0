"""Several inputs in one prompt: which of them go together, how they are asked, and which answer belongs to which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from langchain_core.messages import HumanMessage
from langchain_core.prompt_values import ChatPromptValue

from dsplus_chains.prompting.offer import LabelPrompt
from dsplus_chains.schema import fence, hash_of

_ASKED = (
    "Above are {n} inputs, each between tags that bear its key. Judge each one by itself. Answer with {n} lines and "
    "nothing else, in the order of the inputs. Each line is a key, a colon, and the label of that input. The first "
    "line begins with {first}:"
)
_END = "Label:"
"""How the prompt of one input ends, as `HintPromptBuilder` writes it."""
_ENDS = re.compile(r"[\n,;|{\[]")
"""Signs after which an entry may begin."""
_BEGINNING = re.compile(r"[\W_]*(?:\d+[.)][\W_]*)?")
"""What may stand before the key of an entry: signs, and its number in a list."""
_WORD = re.compile(r"[^\W\d_]")
_AROUND = " \t\"'`*_|:;,=<>/{}[]–—-•"
"""Signs that may stand around an answer in a list or in JSON."""


class Group(NamedTuple):
    """Rows that share a prompt."""

    rows: list[int]
    keys: list[str]
    """The key of each row in the prompt."""
    prompt: ChatPromptValue


def groups_of(prompts: Mapping[int, Any], size: int) -> list[Group]:
    """The groups of rows whose prompts differ only in a last message of text. A row without a partner is in none.

    Groups of such rows are of about the same size, so that none of them is left over from full ones.

    Args:
        prompts: The prompt of each row, as `HintPromptBuilder` makes it.
        size: Most rows of a group.
    """
    alike: dict[str, list[int]] = {}
    for row, prompt in prompts.items():
        last = prompt.messages[-1] if isinstance(prompt, LabelPrompt) and prompt.messages else None
        if isinstance(last, HumanMessage) and isinstance(last.content, str):
            alike.setdefault(hash_of([message.model_dump() for message in prompt.messages[:-1]]), []).append(row)
    cut = [part for rows in alike.values() for part in _parts(rows, ceil(len(rows) / size))]
    return [_group(rows, [prompts[row] for row in rows]) for rows in cut if len(rows) > 1]


def keys_of(texts: Sequence[str]) -> list[str]:
    """A key for each text of a group. To foretell one, a text would have to know all the others.

    The same group always has the same keys, so a cache of answers finds it again.

    Example:
        >>> keys_of(["good", "bad"]) == keys_of(["good", "bad"]), keys_of(["good", "bad"]) == keys_of(["good", "ugly"])
        (True, False)
    """
    return [f"q{number}-{hash_of([number, *texts])[:6]}" for number in range(1, len(texts) + 1)]


def answers_by_key(said: str, keys: Sequence[str]) -> dict[str, str]:
    r"""The answer that stands with each key. A key that is missing, or has two answers, is left out.

    Either each key begins an entry, and its answer follows. Or each line begins with an answer, and one or more keys
    follow. Anything else could be read in two ways, such as "good: q1-aa, bad: q2-bb". So nothing is read then.

    Args:
        said: What the model has said.
        keys: The keys of the prompt. Any other key is a part of an answer.

    Example:
        >>> answers_by_key("q1-aa: good, q2-bb: bad, q2-bb: good", ["q1-aa", "q2-bb", "q3-cc"])
        {'q1-aa': 'good'}
        >>> answers_by_key("good: q1-aa\nbad: q2-bb, q3-cc", ["q1-aa", "q2-bb", "q3-cc"])
        {'q1-aa': 'good', 'q2-bb': 'bad', 'q3-cc': 'bad'}
        >>> answers_by_key("good: q1-aa, bad: q2-bb", ["q1-aa", "q2-bb"])
        {}
    """
    sign = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, keys))})(?![\w-])")
    found = _after_keys(sign.split(said))
    if found is None:
        found = _before_keys([sign.split(line) for line in said.splitlines()])
    return {key: answers.pop() for key, answers in found.items() if len(answers) == 1}


def _after_keys(pieces: Sequence[str]) -> dict[str, set[str]] | None:
    """The answers after each key, and a further line of words. None if a key begins no entry or ends the text.

    Args:
        pieces: What the model has said, cut at the keys, with the keys.
    """
    entries = [
        (_ENDS.split(before)[-1], key, piece.lstrip().partition("\n"))
        for before, key, piece in zip(pieces[:-1:2], pieces[1::2], pieces[2::2], strict=True)
        if not before.endswith("</")  # a tag that closes begins nothing
    ]
    if not all(_BEGINNING.fullmatch(before) for before, *_ in entries):
        return None
    if entries and not entries[-1][2][0].strip(_AROUND):
        return None
    found: dict[str, set[str]] = {}
    for _, key, (first, _, rest) in entries:
        if answer := first.strip(_AROUND):
            found.setdefault(key, set()).update([answer, rest] if _WORD.search(rest) else [answer])
    return found


def _before_keys(lines: Sequence[list[str]]) -> dict[str, set[str]]:
    """The answers at the beginning of lines that end in their keys. It is empty if a line with words is another one.

    Args:
        lines: The lines, each cut at the keys, with the keys.
    """
    found: dict[str, set[str]] = {}
    for first, *others in lines:
        answer = first.strip(_AROUND)
        if not others and not answer:
            continue
        if not others or not answer or any(map(_WORD.search, others[1::2])):
            return {}
        for key in others[::2]:
            found.setdefault(key, set()).add(answer)
    return found


def same_answer(asked: str, *, answer: str) -> str:
    r"""A reply that gives the same answer to each input of a group, or to the only input of a prompt.

    Args:
        asked: The text of the prompt's last message.
        answer: The answer.

    Example:
        >>> same_answer("<q1-0a1b2c>\n<input>\nnice\n</input>\n</q1-0a1b2c>\n\nAnswers:", answer="good")
        'q1-0a1b2c: good'
        >>> same_answer("nice", answer="good")
        'good'
    """
    keys = re.findall(r"^<(q\d+-[0-9a-f]{6})>$", asked, re.MULTILINE)
    return "\n".join(f"{key}: {answer}" for key in keys) or answer


def _parts(rows: list[int], n: int) -> list[list[int]]:
    """Rows as n parts, of which none is longer than another one by more than a row."""
    return [rows[len(rows) * part // n : len(rows) * (part + 1) // n] for part in range(n)]


def _group(rows: list[int], prompts: Sequence[LabelPrompt]) -> Group:
    texts = [str(prompt.messages[-1].content).removesuffix(_END).rstrip() for prompt in prompts]
    keys = keys_of(texts)
    blocks = [fence(text, tag=key) for key, text in zip(keys, texts, strict=True)]
    asked = HumanMessage("\n\n".join([*blocks, _ASKED.format(n=len(rows), first=keys[0]), "Answers:"]))
    return Group(rows, keys, ChatPromptValue(messages=[*prompts[0].messages[:-1], asked]))
