"""Labels of rows that the small model can never name, as where a column writes them otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dsplus_chains.prompting.matching import forms_of
from dsplus_chains.schema import (
    InvalidInputError,
    LabelWarning,
    Prediction,
    brief,
    each_once,
    label_key,
    labels_outside,
)


def check_known(labels: Sequence[Any], predictions: Sequence[Prediction]) -> None:
    """Refuse true labels of which the small model knows none, and tell of some that it does not know.

    Its labels are known where all its predictions give probabilities of the same ones. Elsewhere, a label is only
    doubted if it reads like one that the small model names, but is written otherwise.

    Args:
        labels: The true label of each row.
        predictions: The small model's predictions.

    Raises:
        InvalidInputError: The small model knows none of the labels.

    Warns:
        LabelWarning: It does not know some of them.

    Example:
        >>> check_known(["Ham", "Ham"], [Prediction(label="ham", confidence=0.9)] * 2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dsplus_chains.schema.errors.InvalidInputError: Got 2 of 2 true labels that the small model never names, ...
    """
    names = (label for row in predictions for label in (*(row.probabilities or ()), row.label))
    known = each_once(label for label in names if label is not None)
    new = labels_outside(labels, known)
    if not new or not known:
        return
    named = {frozenset(map(label_key, row.probabilities)) for row in predictions if row.probabilities}
    whole = len(named) == 1 and len(known) > 1
    forms = forms_of(known, {})
    alike = [label for label in each_once(new) if not forms.keys().isdisjoint(forms_of([label], {}))]
    if not whole and not alike:
        return
    msg = (
        f"Got {len(new)} of {len(labels)} true labels that the small model never names, such as "
        f"{(alike or new)[0]!r}, where it names {brief(list(known))}"
    )
    if len(new) == len(labels):
        msg = f"{msg}; write them as the small model does"
        raise InvalidInputError(msg)
    warnings.warn(f"{msg}: it is wrong there", LabelWarning, stacklevel=2)
