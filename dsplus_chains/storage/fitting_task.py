"""What a bundle's parts must have in common before they are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dsplus_chains.schema import BundleError, brief, what_came
from dsplus_chains.task import LabelTask


def fitting_task(scorer: Any, task: LabelTask | None, settings: Mapping[str, Any]) -> LabelTask:
    """The task of a bundle, over the labels of its scorer.

    Args:
        scorer: The small model.
        task: The task as far as it is known. None makes one of the settings.
        settings: Settings that replace those of the task.

    Raises:
        BundleError: The scorer has no labels, the task has other labels, or a setting is unknown or out of bounds.
    """
    labels = getattr(scorer, "labels", None)
    if labels is None:
        msg = f"Got scorer={what_came(scorer)} but expected one of labels, such as a SmallModelScorer; see data_shunt"
        raise BundleError(msg)
    if task is not None and task.labels != labels:
        msg = f"Got a task of the labels {brief(list(task.labels))} but expected {brief(list(labels))}"
        raise BundleError(msg)
    try:
        return LabelTask(labels=labels, **settings) if task is None else task.replace(**settings)
    except ValidationError as error:
        raise BundleError(str(error)) from error


def check_saves(scorer: Any) -> None:
    """Refuse a scorer that cannot write itself, such as one around a function.

    Raises:
        BundleError: It cannot.
    """
    if not callable(getattr(scorer, "save", None)):
        msg = (
            f"Got a {type(scorer).__name__} to save, which holds objects of yours, and they cannot be written without "
            "pickle; keep task.to_dict() and tuned.to_json(), and build Bundle(scorer=..., ...) anew around the scorer"
        )
        raise BundleError(msg)
