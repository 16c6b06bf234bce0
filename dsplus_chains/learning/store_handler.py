"""`StoreHandler` records the decisions of a chain that knows nothing of the recorder."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.running.recorder import Recorder, hand_over
from dsplus_chains.schema import is_record


class _Heard(NamedTuple):
    """What is known of a run under way."""

    told: list[Any]
    """The predictions of what is recorded already."""
    records: list[Any]
    """The records that came out of runs in it."""


class StoreHandler(BaseCallbackHandler):
    """Hears the event "dsplus_decision" where it carries the record, and else what comes out of a chain.

    Of a chain in a chain, the outermost record of a decision is kept.

    Args:
        recorder: What keeps the records.
    """

    run_inline = True
    ignore_llm = ignore_agent = ignore_retriever = ignore_retry = ignore_chat_model = True

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._heard: dict[UUID, _Heard] = {}

    @override
    def on_chain_start(self, *_: Any, run_id: UUID, **_kwargs: Any) -> None:
        self._heard[run_id] = _Heard([], [])

    @override
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_kwargs: Any) -> None:
        if name == DECISION_EVENT and "record" in data:
            hand_over(self._recorder, data["record"])
            if run_id in self._heard:  # a stream that is closed early ends before it tells
                self._heard[run_id].told.append(data["record"].get("prediction"))

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any) -> None:
        self._end(run_id, parent_run_id, [outputs] if is_record(outputs) else [])

    @override
    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **_kwargs: Any
    ) -> None:
        self._end(run_id, parent_run_id, [])

    def _end(self, run_id: UUID, parent_run_id: UUID | None, came_out: list[Any]) -> None:
        """Hand on to the run around it what came out of a run, or record it if there is none."""
        heard = self._heard.pop(run_id, _Heard([], []))
        records = [one for one in heard.records if not _is_among(one, came_out)] + came_out
        around = None if parent_run_id is None else self._heard.get(parent_run_id)
        if around is not None:
            around.told.extend(heard.told)
            around.records[:] = [one for one in around.records if not _is_among(one, records)] + records
            return
        for record in records:
            is_cut = record["source"] == "large" and "large" not in record  # a stream that an event tells
            if not is_cut and not any(record.get("prediction") is one for one in heard.told):
                hand_over(self._recorder, record)


def _is_among(record: Any, others: list[Any]) -> bool:
    """Whether the decision of a record is that of another one."""
    known = record.get("prediction")
    return known is not None and any(known is other.get("prediction") for other in others)
