"""A shunt around a LangGraph graph, whose stream tells what happens in other forms than its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from typing_extensions import override

from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.integrations.app_steps import wrapped_by
from dsplus_chains.integrations.small_message import SMALL_MODEL, as_chunk


def graph_in(app: Runnable[Any, Any]) -> Runnable[Any, Any] | None:
    """The compiled graph that an app is, or that it wraps, as `with_config` does. None if there is none."""
    inner: Runnable[Any, Any] | None = app
    while inner is not None and not all(hasattr(inner, name) for name in ("stream_mode", "stream_channels", "nodes")):
        inner = wrapped_by(inner)
    return inner


class GraphShunt(AppShunt):
    """A shunt around a graph. The small model's state is streamed as if a node of its own had made it."""

    @override
    def _pieces(self, output: Any, _kwargs: Mapping[str, Any]) -> Iterator[Any]:
        asked: Any = _kwargs.get("stream_mode") or getattr(graph_in(self._app), "stream_mode", "values")
        modes: list[str] = [asked] if isinstance(asked, str) else list(asked)
        for mode in modes:
            for piece in pieces_of(output, mode):
                if _kwargs.get("version") == "v2":
                    more = {"interrupts": ()} if mode == "values" else {}
                    yield {"type": mode, "ns": (), "data": piece, **more}
                    continue
                before = [*([()] if _kwargs.get("subgraphs") else []), *([] if isinstance(asked, str) else [mode])]
                yield (*before, piece) if before else piece


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
