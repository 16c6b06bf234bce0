"""A plan of subtasks as a LangGraph graph, which can go on in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import TypedDict

from dsplus_chains.integrations.agent_parts import not_installed
from dsplus_chains.integrations.app_text import NoText, TextPlace, fields_of, text_reader
from dsplus_chains.integrations.graph_nodes import RecordNode, given_text
from dsplus_chains.schema import InvalidInputError, SubtaskResult, what_came
from dsplus_chains.subtasks.decomposer import SubtaskDecomposer

if TYPE_CHECKING:
    from langgraph.graph import StateGraph


def _together(known: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The results so far and new ones. None begins anew."""
    return {} if found is None else {**(known or {}), **found}


class PlanState(TypedDict, total=False):
    """The state of a plan's graph. A state of your own needs the keys that you want to keep."""

    input: Any
    """The text."""
    subtasks: Annotated[dict[str, SubtaskResult], _together]
    """Results by name."""
    answer: Any
    """What the combining step says."""
    source: Any
    """Who answered."""
    large: Any
    """What the large model said, if it was asked."""
    error: Any
    """Why the source is "fallback"."""


ANSWER_KEYS = ("answer", "source", "large", "error")


def decomposition_graph(
    decomposer: SubtaskDecomposer,
    *,
    text: TextPlace = "input",
    state_schema: Any = PlanState,
) -> StateGraph[Any, Any, Any, Any]:
    """A `SubtaskDecomposer` as a LangGraph graph, with one node for each subtask and one for the combining step.

    With a checkpointer, a run that was killed goes on where it stopped. A subtask that is done is not run again.
    Compile the graph, or make it a node of yours. Give the checkpointer ``serde=checkpoint_serde()``.

    Args:
        decomposer: The plan.
        text: Where the text is in the state. See `shunt`.
        state_schema: The state. It needs `subtasks` as `PlanState` declares it.

    Raises:
        ImportError: LangGraph is not installed.

    Example:
        >>> from dsplus_chains import Subtask
        >>> words = Subtask(name="words", run=lambda record: len(record["input"].split()))
        >>> plan = SubtaskDecomposer(subtasks=[words], combine="{words} words")
        >>> decomposition_graph(plan).compile().invoke({"input": "it broke at once"})["answer"]
        '4 words'
    """
    try:
        from langgraph.graph import END, START, StateGraph
    except ImportError as error:
        raise not_installed(a="graph") from error

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(state_schema)
    give = partial(_record_of, text_reader(text))
    graph.add_node("begin_subtasks", _begun)
    graph.add_edge(START, "begin_subtasks")
    for subtask in decomposer.subtasks:
        alone = RecordNode(
            name=subtask.name,
            run=_only(decomposer, subtask.name),
            give=give,
            update=partial(_result_of, subtask.name),
        )
        graph.add_node(_node(subtask.name), alone)
        graph.add_edge([_node(need) for need in subtask.needs] or "begin_subtasks", _node(subtask.name))
    resumed = decomposer.model_copy(update={"resume": True})
    graph.add_node("combine_subtasks", RecordNode(name="combine", run=resumed, give=give, update=_answer_of))
    graph.add_edge([_node(subtask.name) for subtask in decomposer.subtasks], "combine_subtasks")
    graph.add_edge("combine_subtasks", END)
    return graph


def _node(name: str) -> str:
    return f"subtask_{name}"


def _only(decomposer: SubtaskDecomposer, name: str) -> SubtaskDecomposer:
    """The plan of one subtask, with those before it, whose results are there."""
    by_name = {subtask.name: subtask for subtask in decomposer.subtasks}
    wanted, todo = set[str](), [name]
    while todo:
        wanted.add(one := todo.pop())
        todo += [need for need in by_name[one].needs if need not in wanted]
    parts = tuple(subtask for subtask in decomposer.subtasks if subtask.name in wanted)
    return SubtaskDecomposer(subtasks=parts, combine=_nothing, source="small", resume=True)


def _nothing(record: Any) -> str:
    del record
    return ""


def _begun(state: Any) -> dict[str, Any]:
    """Nothing is left of an earlier turn."""
    del state
    return {"subtasks": None, **dict.fromkeys(ANSWER_KEYS)}


def _record_of(read: Callable[[Any], str | NoText], state: Any) -> dict[str, Any]:
    """The record of a state.

    Raises:
        InvalidInputError: It has no text, or its results were read from a checkpoint without their types.
    """
    known = dict(fields_of(state) or {})
    for name, result in (known.get("subtasks") or {}).items():
        if not isinstance(result, SubtaskResult):
            msg = (
                f"Got {what_came(result)} as the result of {name!r} but expected a SubtaskResult. The checkpointer has "
                "lost its type. Give it serde=checkpoint_serde()"
            )
            raise InvalidInputError(msg)
    return {**{key: value for key, value in known.items() if key not in ANSWER_KEYS}, "input": given_text(read, state)}


def _result_of(name: str, state: Any, record: Any) -> dict[str, Any]:
    del state
    return {"subtasks": {name: record["subtasks"][name]}}


def _answer_of(state: Any, record: Any) -> dict[str, Any]:
    del state
    return {key: record.get(key) for key in ANSWER_KEYS}
