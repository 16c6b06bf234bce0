"""Pictures: how the graph of one Runnable becomes a part of another's."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph, Node


def extend_graph(
    graph: Graph, run: Runnable[Any, Any], config: RunnableConfig | None, *, prefix: str = ""
) -> tuple[Node, Node]:
    """Add a Runnable's graph, without its input and its output; give its first and its last node.

    Args:
        graph: What it is added to.
        run: Any Runnable. One whose graph has no single way in or out is a single node.
        config: LangChain's config of the picture.
        prefix: What its nodes are called by.
    """
    part = run.get_graph(config)
    part.trim_first_node()
    part.trim_last_node()
    first, last = graph.extend(part, prefix=prefix)
    if first is None or last is None:
        node = graph.add_node(run)
        return node, node
    return first, last
