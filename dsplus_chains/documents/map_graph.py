"""The graph of a map, for drawing."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph

from dsplus_chains.running.graph import extend_graph


def map_graph(
    parts: Runnable[Any, Any], run: Runnable[Any, Any], reduce: Runnable[Any, Any], config: RunnableConfig | None
) -> Graph:
    """The graph of a map. It shows the input, the step for each part, the reduction and the output."""
    graph = Graph()
    start, split = graph.add_node(parts.get_input_schema(config)), graph.add_node(parts)
    first, last = extend_graph(graph, run, config, prefix="part")
    reduce_first, reduce_last = extend_graph(graph, reduce, config, prefix="reduce")
    graph.add_edge(start, split)
    graph.add_edge(split, first, data="each part")
    graph.add_edge(last, reduce_first, data="what is kept")
    graph.add_edge(reduce_last, graph.add_node(parts.get_output_schema(config)))
    return graph
