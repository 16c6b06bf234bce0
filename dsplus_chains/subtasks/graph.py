"""Pictures: of a plan (the input, each subtask behind those it needs, the combining step, the output), of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph, Node

from dsplus_chains.subtasks.plan import Subtask, levels


def plan_graph(
    decomposer: Runnable[Any, Any],
    subtasks: Sequence[Subtask],
    combine: Runnable[Any, Any],
    config: RunnableConfig | None,
) -> Graph:
    """The graph of a plan; a subtask that nothing needs leads straight to the combining step.

    The way to a subtask that is not run for every input is dotted.
    """
    graph = Graph()
    start = graph.add_node(decomposer.get_input_schema(config))
    lasts: dict[str, Node] = {}
    for level in levels(subtasks):
        for subtask in level:
            first, last = _extend(graph, subtask.step, config, prefix=subtask.name)
            for before in [lasts[need] for need in subtask.needs] or [start]:
                graph.add_edge(before, first, data=subtask.name, conditional=subtask.when is not None)
            lasts[subtask.name] = last
    first, last = _extend(graph, combine, config, prefix="combine")
    needed = {need for subtask in subtasks for need in subtask.needs}
    for name, before in lasts.items():
        if name not in needed:
            graph.add_edge(before, first, data="combine")
    graph.add_edge(last, graph.add_node(decomposer.get_output_schema(config)))
    return graph


def map_graph(
    parts: Runnable[Any, Any], run: Runnable[Any, Any], reduce: Runnable[Any, Any], config: RunnableConfig | None
) -> Graph:
    """The graph of a map: the input, the step that each of its parts goes through, the reduction, the output."""
    graph = Graph()
    start, split = graph.add_node(parts.get_input_schema(config)), graph.add_node(parts)
    first, last = _extend(graph, run, config, prefix="part")
    reduce_first, reduce_last = _extend(graph, reduce, config, prefix="reduce")
    graph.add_edge(start, split)
    graph.add_edge(split, first, data="each part")
    graph.add_edge(last, reduce_first, data="what is kept")
    graph.add_edge(reduce_last, graph.add_node(parts.get_output_schema(config)))
    return graph


def _extend(graph: Graph, run: Runnable[Any, Any], config: RunnableConfig | None, *, prefix: str) -> tuple[Node, Node]:
    part = run.get_graph(config)
    part.trim_first_node()
    part.trim_last_node()
    first, last = graph.extend(part, prefix=prefix)
    if first is None or last is None:  # a Runnable of its own whose graph has no single way in or out
        node = graph.add_node(run)
        return node, node
    return first, last
