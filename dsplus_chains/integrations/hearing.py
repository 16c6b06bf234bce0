"""`decisions` hears who answered, whatever app the shunts are in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT

_SHARED = 64
"""So many of the last decisions may have been told twice, by a block and by one inside of it."""


class Decisions(BaseCallbackHandler):
    """The decisions of all shunts that were heard, in the order in which they were made.

    Each is the data of a "dsplus_decision". It is a callback handler too, for ``config={"callbacks": [seen]}``.
    """

    run_inline = True
    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_chat_model = True

    def __init__(self, *, within: Decisions | None = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._within = within

    @override
    def on_custom_event(self, name: str, data: Any, **_kwargs: Any) -> None:
        if name != DECISION_EVENT or any(heard is data for heard in self.seen[-_SHARED:]):
            return
        self.seen.append(data)  # a list's append is atomic
        if self._within is not None:  # a run that began in the outer block may have told it already
            self._within.on_custom_event(name, data)

    @property
    def records(self) -> list[Any]:
        """The records of the shunts around apps, as `evaluate` takes them."""
        return [data["record"] for data in self.seen if "record" in data]

    def __len__(self) -> int:
        return len(self.seen)

    def __bool__(self) -> bool:
        return True  # LangChain takes a handler that is false for none

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.seen[number]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.seen)


_LISTENING: ContextVar[Decisions | None] = ContextVar("dsplus_decisions", default=None)
register_configure_hook(_LISTENING, inheritable=True)


@contextmanager
def decisions() -> Iterator[Decisions]:
    """Hear the decisions of all shunts that are called inside of the block.

    It works as LangChain's `get_usage_metadata_callback` does. A block inside of another one is heard by both. A task
    that begins inside of the block is heard. So is a thread that got the block's context.

    Example:
        >>> from dsplus_chains import ConfidenceBranch, Prediction
        >>> branch = ConfidenceBranch(large=lambda text: "ham", threshold=0.9)
        >>> with decisions() as seen:
        ...     answer = branch.invoke({"input": "hi", "prediction": Prediction(label="spam", confidence=0.95)})
        >>> [decision["source"] for decision in seen]
        ['small']
    """
    listening = Decisions(within=_LISTENING.get())
    token = _LISTENING.set(listening)
    try:
        yield listening
    finally:
        _LISTENING.reset(token)
