"""The picture of a branch shows its input, the gate, both arms and its output."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.graph import Graph

from dsplus_chains.running.graph import extend_graph


def branch_graph(branch: Runnable[Any, Any], large: Runnable[Any, Any], config: RunnableConfig | None) -> Graph:
    """The graph of a gate with two arms.

    The small arm is an edge straight to the end. The large arm is a graph of its own.
    """
    graph = Graph()
    start = graph.add_node(branch.get_input_schema(config))
    gate = graph.add_node(branch)
    small = graph.add_node(RunnableLambda(lambda record: record, name="small model's answer"))
    end = graph.add_node(branch.get_output_schema(config))
    graph.add_edge(start, gate)
    graph.add_edge(gate, small, data="sure", conditional=True)
    graph.add_edge(small, end)

    first, last = extend_graph(graph, large, config)
    graph.add_edge(gate, first, data="not sure", conditional=True)
    graph.add_edge(last, end)
    return graph
