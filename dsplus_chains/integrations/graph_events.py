"""Decisions in the stream of a LangGraph graph (`stream_mode="custom"`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.running.usage import traced
from dsplus_chains.subtasks.subtask_flow import SUBTASK_EVENT


class GraphStream(BaseCallbackHandler):
    """Writes each decision into a graph's stream, as ``{"dsplus_decision": {...}}``. So it does with subtasks.

    Args:
        write: The graph's writer.
    """

    run_inline = True
    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_chat_model = True

    def __init__(self, write: Callable[[Any], None]) -> None:
        self._write = write

    @override
    def on_custom_event(self, name: str, data: Any, **_kwargs: Any) -> None:
        if name in {DECISION_EVENT, SUBTASK_EVENT}:
            self._write({name: {key: value for key, value in data.items() if key != "record"}})


def graph_traced(config: RunnableConfig, run_manager: Any, tag: str) -> RunnableConfig:
    """The config of a child run for one row. Inside of a graph, its decisions are in the graph's stream."""
    child = traced(config, run_manager, tag)
    callbacks: Any = child["callbacks"]
    write = _graph_writer()
    is_streamed = any(isinstance(handler, GraphStream) for handler in callbacks.handlers)  # by a graph around this one
    if write is not None and not is_streamed:
        callbacks.add_handler(GraphStream(write))
    return child


def _graph_writer() -> Callable[[Any], None] | None:
    """The writer of the graph that is running. None outside of a graph."""
    try:
        from langgraph.config import get_stream_writer

        return get_stream_writer()
    except (ImportError, RuntimeError, KeyError):
        return None
