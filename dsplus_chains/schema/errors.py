"""The errors and warnings that a user may meet, and the wording of an error in a record."""

from __future__ import annotations

from collections.abc import Iterator
from traceback import walk_tb
from typing import Any, Literal

from dsplus_chains.schema.secrets import hide_secrets
from dsplus_chains.schema.wording import shorten, visible

LONGEST = 2000
"""Most characters of a message."""


class DSPlusError(Exception):
    """Base of all errors that this package itself raises. A message is cut short, whatever it names."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(shorten(value, LONGEST) if isinstance(value, str) else value for value in args))


class InvalidInputError(DSPlusError, ValueError):
    """A Runnable cannot work on an input of the chain, or on a record inside it."""


class WiringError(InvalidInputError):
    """The parts of a chain do not fit each other. Unlike a failed model, this is no reason to fall back."""


class TrainingDataError(DSPlusError, ValueError):
    """The examples given to `fit` cannot train a classifier."""


class InfeasibleTargetError(DSPlusError, ValueError):
    """No threshold meets the target on this data. `nearest` is the closest that can be had."""

    def __init__(self, message: str, *, target: Any = None, nearest: Any = None) -> None:
        super().__init__(message)
        self.target = target
        self.nearest = nearest


class SubtaskError(DSPlusError):
    """A subtask failed. `subtask` is its name, and the cause is chained."""

    def __init__(self, message: str, *, subtask: str = "") -> None:
        super().__init__(message)
        self.subtask = subtask


class LargeModelError(DSPlusError):
    """The large model cannot be asked at all, or has failed at too many rows to go on. The cause is chained."""


class BudgetError(DSPlusError):
    """A call of a large model was not made, since nothing of the budget is left for it.

    `spent` says what is to happen, as in `Budget`. `busy` says that calls under way may still give something back.
    """

    def __init__(self, message: str, *, spent: Literal["small", "raise"] = "raise", busy: bool = False) -> None:
        super().__init__(message)
        self.spent = spent
        self.busy = busy


class BundleError(DSPlusError, ValueError):
    """A saved model is damaged or incompatible, or holds something that cannot be saved without pickle."""


class DSPlusWarning(UserWarning):
    """Base of all warnings that this package itself gives."""


class LabelWarning(DSPlusWarning):
    """Labels read alike, or answers could not be read as a label."""


class TrainingDataWarning(DSPlusWarning):
    """The examples given to `fit` contradict each other."""


class OverlapWarning(DSPlusWarning):
    """Rows to tune or evaluate on were fitted or tuned on before, so the figures are too good."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what has caused it, from the last to the first.

    An error that was raised while another was handled counts as caused by it, with or without ``from``. It has to have
    left the handler. So what a caller was handling when he called us has caused nothing here.

    Args:
        error: Any error. None has no causes.

    Example:
        >>> try:
        ...     try:
        ...         {}["a"]
        ...     except KeyError:
        ...         raise ValueError("no a")
        ... except ValueError as error:
        ...     print([type(cause).__name__ for cause in causes(error)])
        ['ValueError', 'KeyError']
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = _handled(error) if error.__cause__ is None else error.__cause__


def _handled(error: BaseException) -> BaseException | None:
    """The error whose handler has raised this one, or has called what raised it without catching it."""
    context = error.__context__
    if context is None or context.__traceback__ is None:
        return None
    handler = context.__traceback__.tb_frame
    return context if any(frame is handler for frame, _ in walk_tb(error.__traceback__)) else None


def budget_error(error: BaseException | None) -> BudgetError | None:
    """The `BudgetError` that an error is, or that has caused it. None if there is none."""
    return next((cause for cause in causes(error) if isinstance(cause, BudgetError)), None)


def describe_error(error: BaseException) -> str:
    """An error in one line, as it stands in a record, such as ``"TimeoutError: no answer in 5 s"``.

    Keys and passwords are hidden. Signs that a terminal would obey are shown by their numbers.
    """
    text = " ".join(str(error).partition("\nFor troubleshooting, visit:")[0].split())  # LangChain adds a link
    return f"{type(error).__name__}: {visible(hide_secrets(text))}" if text else type(error).__name__
