"""`as_scorer` makes a scorer of whatever predicts, and `model_hash_of` tells which model it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.runnables.base import RunnableBindingBase

from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.runnable import RunnableScorer


def as_scorer(
    scorer: Any, *, labels: Sequence[Any] | None, input_key: str | None, on_error: Literal["raise", "defer"]
) -> tuple[Any, BaseScorer]:
    """The first part of a chain, and the scorer inside of it.

    Args:
        scorer: A scorer, one with a config of its own (``with_config``), or a Runnable or function that predicts.
        labels: The labels, for what is no scorer yet.
        input_key: The key of a dict under which the text is. None keeps the scorer's own.
        on_error: What happens to a text that the scorer fails at; see `BaseScorer`.
    """
    inner = scorer.bound if isinstance(scorer, RunnableBindingBase) else scorer
    if isinstance(inner, BaseScorer) and inner is not scorer and input_key is None:
        inner = inner.model_copy(update={"on_error": on_error})  # a copy keeps the lock of what is not copied
        return scorer.model_copy(update={"bound": inner}), inner
    if not isinstance(scorer, BaseScorer):
        named = labels if labels is not None else getattr(inner, "labels", None)
        made = RunnableScorer(run=scorer, labels=named, input_key=input_key or "input", on_error=on_error)
        return made, made
    own = {} if input_key is None else {"input_key": input_key}
    copied = scorer.model_copy(update={**own, "on_error": on_error})
    return copied, copied


def model_hash_of(scorer: Any) -> str | None:
    """The hash of a small model, where it has one; see `SmallModelScorer.model_hash`."""
    found = getattr(scorer.bound if isinstance(scorer, RunnableBindingBase) else scorer, "model_hash", None)
    return found if isinstance(found, str) else None
