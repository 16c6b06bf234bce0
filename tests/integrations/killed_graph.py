"""A graph for `test_langgraph`: it kills its own process in a node, and goes on in the next one.

Usage: python killed_graph.py CHECKPOINTS CALLS VICTIM
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from dsplus_chains import (
    Passage,
    Prediction,
    Subtask,
    SubtaskDecomposer,
    checkpoint_serde,
    decomposition_graph,
    route_by_confidence,
    shunt_node,
)
from dsplus_chains.integrations import PlanState


class State(PlanState):
    messages: Annotated[list[AnyMessage], add_messages]
    shunt: dict[str, Any]


def graph(calls: Path, victim: str, saver: Any) -> Any:
    """The compiled graph. It is killed by the step `victim`, unless an earlier process was."""

    def called(name: str) -> None:
        done = calls.read_text().split() if calls.exists() else []
        with calls.open("a") as file:  # two subtasks may write at once
            file.write(f"{name}\n")
        if name == victim and name not in done:
            os.kill(os.getpid(), signal.SIGKILL)

    def small(text: str) -> Prediction:
        called("small")
        return Prediction(label="fault", confidence=0.4, probabilities={"fault": 0.4, "praise": 0.6})

    def words(record: Any) -> int:
        called("words")
        return len(record["input"].split())

    def quote(record: Any) -> list[Passage]:
        called("quote")
        return [Passage(text=record["input"][:8], start=0)]

    def long(record: Any) -> Prediction:
        called("long")
        return Prediction(label=record["subtasks"]["words"].value > 3, confidence=0.9)

    def combined(record: Any) -> str:
        called("combine")
        found = record["subtasks"]
        return f"{found['words'].value} words, {found['long'].value}, {found['quote'].value[0].text}"

    plan = SubtaskDecomposer(
        subtasks=[
            Subtask(name="words", run=words),
            Subtask(name="quote", run=quote),
            Subtask(name="long", run=long, needs=("words",)),
        ],
        combine=combined,
    )
    builder = StateGraph(State)
    builder.add_node("shunt", shunt_node(small, threshold=0.9, text="messages", record_key="shunt"))
    builder.add_node("plan", decomposition_graph(plan, text="messages", state_schema=State).compile())
    builder.add_edge(START, "shunt")
    route = route_by_confidence(auto=0.9, record_key="shunt")
    builder.add_conditional_edges("shunt", route, {"auto": END, "large": "plan"})
    builder.add_edge("plan", END)
    return builder.compile(saver)


def main(checkpoints: str, calls: str, victim: str) -> None:
    saver = SqliteSaver(sqlite3.connect(checkpoints, check_same_thread=False), serde=checkpoint_serde())
    built = graph(Path(calls), victim, saver)
    config = {"configurable": {"thread_id": "1"}}
    begun = built.get_state(config).values
    given = None if begun else {"messages": [HumanMessage("it broke at once", id="m1")]}
    print(built.invoke(given, config, durability="sync"))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
