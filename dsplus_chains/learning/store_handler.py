"""`StoreHandler` records the decisions of a chain that knows nothing of the recorder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.recorder import Recorder, hand_over
from dsplus_chains.schema import is_record


@dataclass
class _Heard:
    """What is known of a run under way."""

    told: dict[int, Any] = field(default_factory=dict)
    """The predictions of what is recorded already, by the id of the object."""
    last: Any = None
    """The record that came out of a run in it last, and is not recorded yet."""


class StoreHandler(BaseCallbackHandler):
    """Hears the event "dsplus_decision" where it carries the record, and else what comes out of a chain.

    Steps of a chain may hand a record on, and add to it. So it is kept when the chain around them has ended, or when
    another decision comes out of a step of that chain.

    Args:
        recorder: What keeps the records.
    """

    run_inline = True
    ignore_llm = ignore_agent = ignore_retriever = ignore_retry = ignore_chat_model = True

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._heard: dict[UUID, _Heard] = {}
        self._lock = ForkLock()  # steps of a chain may end at once

    @override
    def on_chain_start(self, *_: Any, run_id: UUID, **_kwargs: Any) -> None:
        self._heard[run_id] = _Heard()

    @override
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_kwargs: Any) -> None:
        if name == DECISION_EVENT and "record" in data:
            hand_over(self._recorder, data["record"])
            if run_id in self._heard:  # a stream that is closed early ends before it tells
                prediction = data["record"].get("prediction")
                self._heard[run_id].told[id(prediction)] = prediction

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        self._end(run_id, parent_run_id, outputs if is_record(outputs) else None)

    @override
    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any
    ) -> None:
        self._end(run_id, parent_run_id, None)

    def _end(self, run_id: UUID, parent_run_id: UUID | None, came_out: Any) -> None:
        """Hand on to the run around it what came out of a run, or record it if there is none."""
        with self._lock:
            heard = self._heard.pop(run_id, _Heard())
            self._follow(heard, came_out)
            around = None if parent_run_id is None else self._heard.get(parent_run_id)
            if around is None:
                self._keep(heard)
            else:
                around.told.update(heard.told)
                self._follow(around, heard.last)

    def _follow(self, heard: _Heard, record: Any) -> None:
        """Let a record take the place of the last one, which is kept if it is about another decision."""
        if record is None:
            return
        if heard.last is not None and record.get("prediction") is not heard.last.get("prediction"):
            self._keep(heard)
        heard.last = record

    def _keep(self, heard: _Heard) -> None:
        """Record the last record, unless that decision is recorded already, or an event tells it."""
        record = heard.last
        if record is None or id(prediction := record.get("prediction")) in heard.told:
            return
        if record["source"] != "large" or "large" in record:  # without it, a stream was closed early
            hand_over(self._recorder, record)
            heard.told[id(prediction)] = prediction
