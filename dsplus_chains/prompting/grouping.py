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
    "nothing else. Each line is a key, a colon, and the label of that input."
)
_END = "Label:"
"""How the prompt of one input ends, as `HintPromptBuilder` writes it."""
_ENDS = re.compile(r"[\n,;|{\[]")
"""Signs after which an entry may begin."""
_BEGINNING = re.compile(r"[\W_]*(?:\d+[.)][\W_]*)?")
"""What may stand before the key of an entry: signs, and its number in a list."""
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
    """The answer after each key. A key that is missing, or has two answers or a further line of words, is left out.

    Each key must begin an entry, and an answer must follow the last one. Else labels may stand before their keys, as in
    "good: q1-aa, bad: q2-bb", where each key is followed by the label of the next one. So nothing is read then.

    Args:
        said: What the model has said.
        keys: The keys of the prompt. Any other key is a part of an answer.

    Example:
        >>> answers_by_key("q1-aa: good, q2-bb: bad, q2-bb: good", ["q1-aa", "q2-bb", "q3-cc"])
        {'q1-aa': 'good'}
        >>> answers_by_key("good: q1-aa, bad: q2-bb", ["q1-aa", "q2-bb"])
        {}
    """
    pieces = re.split(rf"(?<![\w-])({'|'.join(map(re.escape, keys))})(?![\w-])", said)
    entries = [
        (_ENDS.split(before)[-1], key, piece.lstrip().partition("\n"))
        for before, key, piece in zip(pieces[:-1:2], pieces[1::2], pieces[2::2], strict=True)
        if not before.endswith("</")  # a tag that closes begins nothing
    ]
    if not all(_BEGINNING.fullmatch(before) for before, *_ in entries):
        return {}
    if entries and not entries[-1][2][0].strip(_AROUND):
        return {}
    found: dict[str, set[str]] = {}
    for _, key, (first, _, rest) in entries:
        if answer := first.strip(_AROUND):
            found.setdefault(key, set()).update([answer, rest] if re.search(r"[^\W\d_]", rest) else [answer])
    return {key: answers.pop() for key, answers in found.items() if len(answers) == 1}


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
    asked = HumanMessage("\n\n".join([*blocks, _ASKED.format(n=len(rows)), "Answers:"]))
    return Group(rows, keys, ChatPromptValue(messages=[*prompts[0].messages[:-1], asked]))
