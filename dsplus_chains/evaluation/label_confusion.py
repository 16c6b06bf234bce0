"""Which label was answered for which, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from dsplus_chains.schema import label_key, shown

OTHERS = "all others"
"""Name of the row and the column for the labels that are not shown."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often an answer was given to inputs of one label.

    Args:
        label: The true label.
        answer: What the chain answered. None without an answer.
        n: Number of rows.
    """

    label: Any
    answer: Any
    n: int


def count_confusions(labels: Sequence[Any], answers: Sequence[Any]) -> tuple[Confusion, ...]:
    """Every pair of a label and an answer that occurs, in order of first appearance.

    Example:
        >>> [(pair.label, pair.answer, pair.n) for pair in count_confusions(["a", "b", "a"], ["a", "a", "a"])]
        [('a', 'a', 2), ('b', 'a', 1)]
    """
    given = [answer if isinstance(answer, (str, int, float, NoneType)) else shown(answer) for answer in answers]
    pairs = Counter((label_key(label), label_key(answer)) for label, answer in zip(labels, given, strict=True))
    return tuple(Confusion(label=label[1], answer=answer[1], n=n) for (label, answer), n in pairs.items())


def confusion_table(confusions: Sequence[Confusion], *, most: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a matrix, with a row for each label and a column for each answer.

    Args:
        confusions: The counts.
        most: At most this many labels are shown, those with most wrong answers. The rest is added up.

    Example:
        >>> header, rows = confusion_table(count_confusions(["a", "b", "a"], ["a", "a", None]), most=5)
        >>> header, rows
        (['label', 'a', 'b', 'no answer'], [['a', '1', '0', '1'], ['b', '1', '0', '0']])
    """
    names: dict[Any, str] = {}
    wrong: Counter[Any] = Counter()
    for pair in confusions:
        label, answer = label_key(pair.label), label_key(pair.answer)
        names.setdefault(label, str(pair.label))
        if label != answer:
            wrong.update({label: pair.n, answer: pair.n})
    known = list[Any](names)
    for pair in confusions:
        names.setdefault(label_key(pair.answer), "no answer" if pair.answer is None else str(pair.answer))
    rank = {key: place for place, key in enumerate(sorted(names, key=lambda key: -wrong[key]))}
    kept: list[Any] = [key for key in names if rank[key] < most]
    cells: Counter[Any] = Counter()
    for pair in confusions:
        at = [key if rank[key] < most else OTHERS for key in (label_key(pair.label), label_key(pair.answer))]
        cells[tuple(at)] += pair.n
    others = [OTHERS] if len(kept) < len(names) else []
    columns = [*kept, *others]
    shown_rows = [key for key in kept if key in known] + ([OTHERS] if any(rank[key] >= most for key in known) else [])
    return (
        ["label", *(names.get(key, OTHERS) for key in columns)],
        [[names.get(key, OTHERS), *(str(cells[key, answer]) for answer in columns)] for key in shown_rows],
    )
