"""A `Recorder` keeps the decisions of a chain, as its last Runnable hands them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BeforeValidator

from dsplus_chains.running.batch_runnable import add_chunks
from dsplus_chains.running.flow import Chunk, Closed, Flow, StreamFlow
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import describe_error, what_came


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
        marks: The keys and their values, for a record of each number of earlier tiers. Such a value is the hash of the
            small model that spoke last.
    """

    recorder: Recorder
    marks: Sequence[Mapping[str, Any]]

    def record(self, record: Mapping[str, Any], /) -> None:
        """Keep a record with the marks."""
        earlier = len(record.get("tiers") or ())
        self.recorder.record({**record, **(self.marks[earlier] if earlier < len(self.marks) else {})})


def marked(recorder: Recorder, *, model_hashes: Sequence[str | None], task_hash: str | None = None) -> Recorder:
    """The recorder with the marks that are known.

    Args:
        recorder: What keeps the records.
        model_hashes: The hash of each small model, in the order in which they are asked.
        task_hash: The hash of the task.

    Raises:
        ValueError: It is no recorder.
    """
    _recorder(recorder)
    each = [{"model_hash": model_hash, "task_hash": task_hash} for model_hash in model_hashes]
    marks = [{name: value for name, value in known.items() if value is not None} for known in each]
    return MarkedRecorder(recorder, marks) if any(marks) else recorder


def hand_over(recorder: Recorder, record: Mapping[str, Any]) -> None:
    """Give a copy of a record to a recorder. If that fails, it is told once, and the answer stands."""
    try:
        recorder.record({**record})
    except Exception as error:
        told = f"A decision could not be recorded, and the answer is not changed: {describe_error(error)}"
        tell_once(told, "recorder", type(error).__name__)


def recorded(recorder: Recorder | None, flow: Flow) -> Flow:
    """A flow of which each result, but for errors, is handed to a recorder. None hears nothing."""
    results = yield from flow
    if recorder is not None:
        for result in results:
            if not isinstance(result, Exception):
                hand_over(recorder, result)
    return results


def recorded_stream(recorder: Recorder | None, flow: StreamFlow) -> StreamFlow:
    """A flow of a stream. The sum of its chunks is handed to a recorder once all of them have been taken."""
    total: Any = {}
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            wanted = flow.send(reply) if error is None else flow.throw(error)
            if recorder is not None and type(wanted) is Chunk:
                total = add_chunks(total, wanted.value) if total else wanted.value
            reply = error = None
            try:
                reply = yield wanted
            except (Exception, Closed) as failure:
                error = failure
    except StopIteration:
        if recorder is not None and total:
            hand_over(recorder, total)
    finally:
        flow.close()
