"""Finds labels that a large model's answer can hardly tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsplus_chains.prompting.matching import forms_of
from dsplus_chains.schema import each_once


def labels_alike(labels: Iterable[Any]) -> tuple[Any, Any] | None:
    """The first two labels that read alike. None if all differ.

    They differ only in what `LabelParser` overlooks: case, white space, punctuation around them, Unicode form.

    Args:
        labels: Any labels. Repetitions do not count.

    Example:
        >>> labels_alike(["Card lost", "top up", "card_lost"]), labels_alike(["+", "-"])
        (('Card lost', 'card_lost'), None)
    """
    seen: dict[str, Any] = {}
    for label in each_once(labels):
        for form in filter(None, forms_of([label], {})):
            first = seen.setdefault(form, label)
            if first is not label:
                return first, label
    return None
