"""`StoreHandler` records the decisions of a chain that knows nothing of the recorder."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.running.recorder import Recorder, hand_over
from dsplus_chains.schema import is_record


class StoreHandler(BaseCallbackHandler):
    """Hears the event "dsplus_decision" where it carries the record, and else the output of the whole chain.

    Args:
        recorder: What keeps the records.
    """

    run_inline = True
    ignore_llm = ignore_agent = ignore_retriever = ignore_retry = ignore_chat_model = True

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told: dict[UUID, list[Any]] = {}  # for each run under way, the predictions of what is recorded in it

    @override
    def on_chain_start(self, *_: Any, run_id: UUID, **_kwargs: Any) -> None:
        self._told[run_id] = []

    @override
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_kwargs: Any) -> None:
        if name == DECISION_EVENT and "record" in data:
            hand_over(self._recorder, data["record"])
            if run_id in self._told:  # a stream that is closed early ends before it tells
                self._told[run_id].append(data["record"].get("prediction"))

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        told = self._told.pop(run_id, [])
        if parent_run_id in self._told:
            self._told[parent_run_id].extend(told)
        elif parent_run_id is None and is_record(outputs) and not any(outputs.get("prediction") is one for one in told):
            if outputs["source"] == "large" and "large" not in outputs:
                return  # a stream that is closed early, which an event tells
            hand_over(self._recorder, outputs)

    @override
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        self._told.pop(run_id, None)
