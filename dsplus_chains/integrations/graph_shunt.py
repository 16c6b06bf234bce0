"""A shunt around a LangGraph graph, whose stream tells what happens in other forms than its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from typing_extensions import override

from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.small_message import SMALL_MODEL, as_chunk


def is_graph(app: Runnable[Any, Any]) -> bool:
    """Whether an app is a compiled graph."""
    return all(hasattr(app, name) for name in ("stream_mode", "stream_channels", "get_state"))


class GraphShunt(AppShunt):
    """A shunt around a graph. The small model's state is streamed as if a node of its own had made it."""

    @override
    def _pieces(self, output: Any, _kwargs: Mapping[str, Any]) -> Iterator[Any]:
        asked: Any = _kwargs.get("stream_mode") or getattr(self._app, "stream_mode", "values")
        modes: list[str] = [asked] if isinstance(asked, str) else list(asked)
        for mode in modes:
            for piece in pieces_of(output, mode):
                yield piece if isinstance(asked, str) else (mode, piece)


def pieces_of(state: Any, mode: str) -> list[Any]:
    """What a graph streams of a state in a mode. Of modes about its inner steps there is nothing to tell.

    Example:
        >>> pieces_of({"answer": "ham"}, "values"), pieces_of({"answer": "ham"}, "updates")
        ([{'answer': 'ham'}], [{'dsplus_chains': {'answer': 'ham'}}])
    """
    if mode == "values":
        return [state]
    if mode == "updates":
        return [{SMALL_MODEL: state}]
    if mode == "messages" and isinstance(state, Mapping):
        said = [part for held in state.values() if isinstance(held, list) for part in held]
        return [(as_chunk(one), {"langgraph_node": SMALL_MODEL}) for one in said if is_answer(one)]
    return []


def is_answer(part: Any) -> bool:
    """Whether a part of a state is what a model has said."""
    return isinstance(part, BaseMessage) and part.type == "ai"
