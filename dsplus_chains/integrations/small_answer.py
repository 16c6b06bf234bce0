"""`SmallAnswer` turns the small model's label into an app's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row


class SmallAnswer(ComputingRunnable[Any, Any]):
    """The small model's answer as the app's output. It is a child run of its own, so that a trace shows who answered.

    Args:
        write: The function from a label to the app's output.
    """

    takes_record: ClassVar[bool] = False

    write: Callable[[Any], Any]

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        return by_row(self.write, inputs)
