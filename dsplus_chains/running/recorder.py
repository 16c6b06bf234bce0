"""A `Recorder` keeps the decisions of a chain, and `RecordingStep` hands them to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BeforeValidator
from typing_extensions import override

from dsplus_chains.running.batch_runnable import BatchRunnable
from dsplus_chains.running.flow import Configs, Flow, Manager
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import InvalidInputError, ShuntRecord, check_answered, describe_error, what_came


@runtime_checkable
class Recorder(Protocol):
    """What keeps decisions, such as an `ExperienceStore`."""

    def record(self, record: Mapping[str, Any], /) -> None:
        """Keep the record of one answered input. It must come back at once, without waiting for a disk."""


def _recorder(value: Any) -> Any:
    if value is None or isinstance(value, Recorder):
        return value
    msg = f"Got experience={what_came(value)} but expected what has a method record(), such as an ExperienceStore"
    raise ValueError(msg)


MaybeRecorder = Annotated[Any, BeforeValidator(_recorder)]
"""A field that holds a `Recorder`, or None."""


@dataclass(frozen=True)
class MarkedRecorder:
    """Hands records on, with keys that say who decided.

    Args:
        recorder: What keeps the records.
        marks: The keys and their values, such as a hash of the small model.
    """

    recorder: Recorder
    marks: Mapping[str, Any]

    def record(self, record: Mapping[str, Any], /) -> None:
        """Keep a record with the marks."""
        self.recorder.record({**record, **self.marks})


def marked(recorder: Any, **marks: str | None) -> Any:
    """The recorder with the marks that are known. None stays None.

    Raises:
        ValueError: It is no recorder.
    """
    known = {name: value for name, value in marks.items() if value is not None}
    return MarkedRecorder(recorder, known) if _recorder(recorder) is not None and known else recorder


def hand_over(recorder: Recorder, record: Mapping[str, Any]) -> None:
    """Give a record to a recorder. If that fails, it is told once, and the answer stands."""
    try:
        recorder.record(record)
    except Exception as error:
        told = f"A decision could not be recorded, and the answer is not changed: {describe_error(error)}"
        tell_once(told, "recorder", type(error).__name__)


class RecordingStep(BatchRunnable[Any, Any]):
    """Hands each finished record to a recorder, and returns the very record.

    ``data_shunt(..., experience=store)`` puts it at the end of a chain. The chunks of a stream go on as they come, and
    their sum is recorded at the end. A stream that the caller does not read to its end is not recorded.

    Args:
        recorder: What keeps the records.

    Raises:
        InvalidInputError: An input is no record of a branch.

    Example:
        >>> class Kept(list):
        ...     def record(self, record):
        ...         self.append(record["answer"])
        >>> kept = Kept()
        >>> record = RecordingStep(recorder=kept).invoke({"input": "hi", "answer": "ham", "source": "small"})
        >>> kept
        ['ham']
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = ShuntRecord
    passes: ClassVar[bool] = True

    recorder: MaybeRecorder

    @override
    def _flow(self, inputs: list[Any], run_manager: list[Manager], config: Configs, **kwargs: Any) -> Flow:
        yield from ()  # a recorder comes back at once, so there is nothing to wait for
        results: list[Any] = []
        for value in inputs:
            try:
                hand_over(self.recorder, check_answered(value, place="scorer | branch | recording step"))
                results.append(value)
            except InvalidInputError as error:
                results.append(error)
        return results
