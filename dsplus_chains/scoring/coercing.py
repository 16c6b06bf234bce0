"""A scorer made of whatever predicts, and which model it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

from dsplus_chains.encoding.modality import Modality, modality_of
from dsplus_chains.running.recorder import Recorder, marked
from dsplus_chains.schema import InvalidInputError, check_listed
from dsplus_chains.scoring.base_scorer import BaseScorer
from dsplus_chains.scoring.record_start import WRITTEN_KEYS, InputKey
from dsplus_chains.scoring.runnable import RunnableScorer


def as_scorer(
    scorer: Any, *, labels: Sequence[Any] | None, input_key: InputKey | None, on_error: Literal["raise", "defer"]
) -> tuple[Any, BaseScorer]:
    """The first part of a chain, and the scorer inside of it.

    Args:
        scorer: A scorer, also one with a config or arguments of its own (``with_config``, ``bind``). Or a Runnable or
            function that predicts, such as a scorer that is tried again (``with_retry``).
        labels: The labels, for what is no scorer yet.
        input_key: The key of a dict under which the text is. None keeps the scorer's own.
        on_error: What happens to a text that the scorer fails at; see `BaseScorer`.
    """
    is_bound = isinstance(scorer, RunnableBinding)  # a retry is another kind: it must see the errors
    inner = scorer.bound if is_bound else scorer
    if isinstance(inner, BaseScorer):
        own = {} if input_key is None else {"input_key": input_key}
        ours = inner.model_copy(update={**own, "on_error": on_error})  # a copy shares the locks of what it holds
        return (scorer.model_copy(update={"bound": ours}) if is_bound else ours), ours
    if isinstance(getattr(scorer, "scorer", None), BaseScorer) and not isinstance(scorer, Runnable):
        msg = f"Got a {type(scorer).__name__} as the small model but expected the one in it; give its .scorer"
        raise InvalidInputError(msg)
    named = labels if labels is not None else getattr(inside(scorer), "labels", None)
    reads: dict[str, Any] = {} if _reads(scorer) == "text" else {"modality": _reads(scorer)}
    made = RunnableScorer(run=scorer, labels=named, input_key=input_key or "input", on_error=on_error, **reads)
    return made, made


def app_scorer(scorer: Any, *, labels: Sequence[Any] | None) -> tuple[Any, list[Any]]:
    """The small model before an app, and its labels.

    Args:
        scorer: The small model, as in `as_scorer`. A text that it fails at is left to the app.
        labels: The labels. None: the scorer's own, if it names some.
    """
    check_listed("labels", labels)
    first, inner = as_scorer(scorer, labels=labels, input_key="input", on_error="defer")
    return first, list(labels if labels is not None else getattr(inner, "labels", None) or ())


def scored_input(scorer: Any, value: Any, text: str) -> Any:
    """What a small model before an app is asked.

    It is the text. A small model that works on the record (`BaseScorer.reads_record`) gets the app's own keys with it.
    Those keys are left out that the chain writes itself.

    Args:
        scorer: The small model.
        value: What the app is called with.
        text: The text in it.
    """
    if not (isinstance(value, Mapping) and getattr(inside(scorer), "reads_record", False)):
        return text
    return {**{key: held for key, held in value.items() if key not in WRITTEN_KEYS}, "input": text}


def model_hash_of(scorer: Any) -> str | None:
    """The hash of a small model, where it has one; see `SmallModelScorer.model_hash`."""
    found = getattr(inside(scorer), "model_hash", None)
    return found if isinstance(found, str) else None


def marked_by(scorer: Any, recorder: Recorder | None) -> Recorder | None:
    """What keeps the decisions of a small model, with the hash of that model. None stays None."""
    return None if recorder is None else marked(recorder, model_hashes=[model_hash_of(scorer)])


def _reads(scorer: Any) -> Modality:
    """What a scorer reads, or the first step of a sequence that begins with one."""
    inner = inside(scorer)
    return modality_of(inside(inner.first) if isinstance(inner, RunnableSequence) else inner)


def inside(scorer: Any) -> Any:
    """What is inside of all bindings, such as a model's retries."""
    while isinstance(scorer, RunnableBindingBase):
        scorer = scorer.bound
    return scorer
