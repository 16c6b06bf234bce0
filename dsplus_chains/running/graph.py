"""How the graph of one Runnable becomes a part of another graph."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph, Node


def extend_graph(
    graph: Graph, run: Runnable[Any, Any], config: RunnableConfig | None, *, prefix: str = ""
) -> tuple[Node, Node]:
    """Add a Runnable's graph, without its input and output nodes. Return its first and its last node.

    Args:
        graph: The graph that grows.
        run: Any Runnable. If its graph has several ways in or out, or none, it becomes a single node.
        config: LangChain's config for the graph.
        prefix: Prefix of the new nodes' ids.
    """
    part = run.get_graph(config)
    part.trim_first_node()
    part.trim_last_node()
    first, last = graph.extend(part, prefix=prefix)
    if first is None or last is None:
        node = graph.add_node(run)
        return node, node
    return first, last
