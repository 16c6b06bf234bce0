"""The graph of a plan, for drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph, Node

from dsplus_chains.running.graph import extend_graph
from dsplus_chains.subtasks.order import levels
from dsplus_chains.subtasks.subtask import Subtask


def plan_graph(
    decomposer: Runnable[Any, Any],
    subtasks: Sequence[Subtask],
    combine: Runnable[Any, Any],
    config: RunnableConfig | None,
) -> Graph:
    """The graph of a plan: the input, each subtask after those that it needs, the combining step, the output.

    A subtask that no other one needs leads straight to the combining step. The way to a subtask that is not run for
    every input is dotted.
    """
    graph = Graph()
    start = graph.add_node(decomposer.get_input_schema(config))
    lasts: dict[str, Node] = {}
    for level in levels(subtasks):
        for subtask in level:
            first, last = extend_graph(graph, subtask.step, config, prefix=subtask.name)
            for before in [lasts[need] for need in subtask.needs] or [start]:
                graph.add_edge(before, first, data=subtask.name, conditional=subtask.when is not None)
            lasts[subtask.name] = last
    first, last = extend_graph(graph, combine, config, prefix="combine")
    needed = {need for subtask in subtasks for need in subtask.needs}
    for name, before in lasts.items():
        if name not in needed:
            graph.add_edge(before, first, data="combine")
    graph.add_edge(last, graph.add_node(decomposer.get_output_schema(config)))
    return graph
