"""Nodes, edges and checkpoints of LangGraph: nothing of an earlier turn, people in the loop, a kill in the middle."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import signal
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from fakes import CountingChat, predict
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel
from typing_extensions import TypedDict

pytest.importorskip("langgraph.graph")
pytest.importorskip("langgraph.checkpoint.sqlite")

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from dsplus_chains import (
    ConfidenceBranch,
    Explanation,
    InvalidInputError,
    LargeAnswer,
    Passage,
    Prediction,
    RunnableScorer,
    Subtask,
    SubtaskDecomposer,
    SubtaskResult,
    checkpoint_serde,
    decisions,
    decomposition_graph,
    person_node,
    record_node,
    route_by_confidence,
    shunt_node,
)
from dsplus_chains.schema import ModelChoice, SubtaskResults
from dsplus_chains.scoring.table_predictions import Scores, predictions_of
from dsplus_chains.verifying.candidate_verdict import Check, Verdict
from dsplus_chains.verifying.verified_prediction import VerifiedPrediction

LABELS = ["positive", "negative"]
SURE, UNSURE = "good", "good?"
THREAD = {"configurable": {"thread_id": "1"}}


class Plain(TypedDict, total=False):
    ticket: str
    prediction: Any
    answer: Any
    source: Any
    large: Any
    error: Any


class Nested(TypedDict, total=False):
    ticket: str
    answer: Any
    source: Any
    large: Any
    shunt: Any


def one_node(schema: Any, node: Any, saver: Any = None) -> Any:
    builder = StateGraph(schema)
    builder.add_node("shunt", node)
    builder.add_edge(START, "shunt")
    builder.add_edge("shunt", END)
    return builder.compile(saver)


def large_app(answer: str = "negative") -> Any:
    return ChatPromptTemplate.from_template("{ticket}") | CountingChat(function=lambda _: answer) | StrOutputParser()


# --- nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["auto", "ticket"])
async def test_a_later_turn_keeps_nothing_of_an_earlier_one(text):
    node = shunt_node(predict, threshold=0.9, large=large_app(), labels=LABELS, text=text)
    built = one_node(Plain, node, InMemorySaver(serde=checkpoint_serde()))
    first = built.invoke({"ticket": UNSURE}, THREAD)
    assert (first["answer"], first["source"], first["large"].value) == ("negative", "large", "negative")
    assert first["large"].usage["output_tokens"] == 1
    second = await built.ainvoke({"ticket": SURE}, THREAD)
    assert second == {
        "ticket": SURE,
        "prediction": predict(SURE),
        "answer": "positive",
        "source": "small",
        "large": None,
        "error": None,
    }


def test_a_whole_chain_is_a_node_too():
    scorer = RunnableScorer(run=predict, labels=LABELS)
    chain = scorer | ConfidenceBranch(large=lambda record: "negative", threshold=0.9)
    built = one_node(Plain, record_node(chain), InMemorySaver(serde=checkpoint_serde()))
    first, second = (built.invoke({"ticket": text}, THREAD) for text in (UNSURE, SURE))
    assert (first["source"], first["large"].value) == ("large", "negative")
    assert (second["source"], second["large"], second["answer"]) == ("small", None, "positive")
    with pytest.raises(InvalidInputError, match="record"):
        record_node(lambda text: text).invoke({"ticket": SURE})


@pytest.mark.parametrize("text", [SURE, UNSURE])
@pytest.mark.parametrize("whole", [False, True])
def test_under_a_key_of_its_own_the_record_leaves_the_users_answer_and_source_alone(text, whole):
    given = {"ticket": text, "answer": "an old one", "source": "mail", "large": 7}
    if whole:
        scorer = RunnableScorer(run=predict, labels=LABELS)
        chain = scorer | ConfidenceBranch(large=lambda record: "negative", threshold=0.9)
        node = record_node(chain, text="ticket", record_key="shunt")
    else:
        node = shunt_node(predict, threshold=0.9, large=large_app(), labels=LABELS, text="ticket", record_key="shunt")
    result = one_node(Nested, node).invoke(given)
    assert {key: result[key] for key in given} == given
    record = result["shunt"]
    expected = ("positive", "small") if text == SURE else ("negative", "large")
    assert (record["answer"], record["source"], record["input"]) == (*expected, text)


def test_without_an_app_a_deferred_state_has_no_answer_yet():
    node = shunt_node(predict, threshold=0.9, labels=LABELS)
    assert one_node(Plain, node).invoke({"ticket": UNSURE, "answer": "old", "large": 7}) == {
        "ticket": UNSURE,
        "prediction": predict(UNSURE),
        "answer": None,
        "source": None,
        "large": None,
        "error": None,
    }


def test_a_label_becomes_what_the_graph_answers_with():
    node = shunt_node(predict, threshold=0.9, labels=LABELS, output={"positive": "Thanks!", "negative": "Sorry!"})
    assert one_node(Plain, node).invoke({"ticket": "bad"})["answer"] == "Sorry!"


def test_states_of_other_kinds_and_conversations():
    @dataclasses.dataclass
    class Data:
        ticket: str
        answer: Any = None
        source: Any = None

    node = shunt_node(predict, threshold=0.9, labels=LABELS)
    assert one_node(Data, node).invoke({"ticket": SURE})["answer"] == "positive"

    class Talk(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        answer: Any
        source: Any

    built = one_node(Talk, node)
    assert built.invoke({"messages": [("human", "hi?"), ("ai", "yes?"), ("human", SURE)]})["source"] == "small"
    assert built.invoke({"messages": [("human", SURE), ("ai", "yes?")]})["source"] is None


class Open(BaseModel):
    ticket: str
    answer: Any = None


@dataclasses.dataclass
class Flat:
    ticket: str
    answer: Any = None


class Typed(TypedDict, total=False):
    ticket: str
    answer: Any


class Talking(MessagesState, total=False):
    answer: Any


@pytest.mark.parametrize("schema", [Typed, Flat, Open, Talking])
async def test_the_keys_that_a_state_declares_are_written_and_the_others_are_dropped(schema):
    built = one_node(schema, shunt_node(predict, threshold=0.9, labels=LABELS))
    given = {"messages": [("human", SURE)]} if schema is Talking else {"ticket": SURE}
    for result in (built.invoke(given), await built.ainvoke(given)):
        assert (result["answer"], len(result)) == ("positive", 2)


class Sorted(TypedDict, total=False):
    ticket: str
    category: Any


def test_a_node_of_the_user_may_call_it_in_a_state_that_declares_none_of_its_keys():
    node = shunt_node(predict, threshold=0.9, labels=LABELS)
    sort = RunnableLambda(lambda update: {"category": update["answer"]})
    for own in (node | sort, lambda state: sort.invoke(node.invoke(state))):
        assert one_node(Sorted, own).invoke({"ticket": SURE}) == {"ticket": SURE, "category": "positive"}


async def test_each_decision_is_heard_and_is_once_in_the_stream_of_the_graph_and_of_its_parent():
    built = one_node(Plain, shunt_node(predict, threshold=0.9, large=large_app(), labels=LABELS))
    expected = [{"dsplus_decision": {"source": "large", "confidence": 0.6, "threshold": 0.9, "label": "positive"}}]
    with decisions() as seen:
        assert list(built.stream({"ticket": UNSURE}, stream_mode="custom")) == expected
        assert [chunk async for chunk in built.astream({"ticket": UNSURE}, stream_mode="custom")] == expected
    assert [one["source"] for one in seen] == ["large", "large"]
    parent = one_node(Plain, record_node(lambda text: built.invoke({"ticket": text})))
    streamed = list(parent.stream({"ticket": UNSURE}, stream_mode="custom", subgraphs=True))
    assert [chunk for _, chunk in streamed] == expected


def told_by(node: Any, given: dict[str, Any]) -> dict[str, list[Any]]:
    """What the stream of a graph with this node tells, by its mode."""
    streamed = one_node(Plain, node).stream(given, stream_mode=["messages", "updates", "values", "custom"])
    told: dict[str, list[Any]] = {}
    for mode, piece in streamed:
        told.setdefault(mode, []).append(piece)
    return told


PARSED = {"a message": None, "a text": StrOutputParser()}


@pytest.mark.parametrize("parser", PARSED.values(), ids=PARSED)
@pytest.mark.parametrize("output", ["auto", {"positive": "Thanks!", "negative": "Sorry!"}])
async def test_both_arms_are_alike_in_each_mode_of_the_stream_of_a_graph(parser, output):
    model = ChatPromptTemplate.from_template("{ticket}") | CountingChat(function=lambda _: "negative")
    app = model if parser is None else model | parser
    said = (
        output if output == "auto" else {label: text if parser else AIMessage(text) for label, text in output.items()}
    )
    node = shunt_node(predict, threshold=0.9, large=app, labels=LABELS, output=said)
    small, large = (told_by(node, {"ticket": text}) for text in (SURE, UNSURE))
    expected = "positive" if output == "auto" else "Thanks!"
    for told, source, text in ((small, "small", expected), (large, "large", "negative")):
        ((message, metadata),) = [piece for piece in told["messages"] if piece[0].text]
        assert (message.text, metadata["langgraph_node"], metadata["dsplus_source"]) == (text, "shunt", source)
        (update,) = told["updates"]
        assert told["values"][1:] == [{"ticket": told["values"][0]["ticket"], **update["shunt"]}]
        answer = update["shunt"]["answer"]
        assert (answer if parser else answer.text, update["shunt"]["source"]) == (text, source)
        assert parser is not None or answer.id == message.id
        assert [piece["dsplus_decision"]["source"] for piece in told["custom"]] == [source]
    assert {mode: len(pieces) for mode, pieces in small.items() if mode != "messages"} == {
        mode: len(pieces) for mode, pieces in large.items() if mode != "messages"
    }
    assert type(small["updates"][0]["shunt"]["answer"]) is type(large["updates"][0]["shunt"]["answer"])
    stream = one_node(Plain, node).astream({"ticket": SURE}, stream_mode="messages")
    assert [message.text async for message, _ in stream] == [expected]


def test_an_app_that_no_chat_model_answers_tells_no_message():
    node = shunt_node(predict, threshold=0.9, large=lambda state: "negative", labels=LABELS, output=str)
    assert ["messages" in told_by(node, {"ticket": text}) for text in (SURE, UNSURE)] == [False, False]


# --- who answers next -------------------------------------------------------------------------------------------------


def asking(saver: Any, record_key: str | None = None) -> Any:
    def small(text: str) -> Prediction:
        return Prediction(label="positive", confidence=float(text))

    def answered(state: Any) -> Any:
        update = {"answer": "negative", "source": "large"}
        return update if record_key is None else {record_key: {**state[record_key], **update}}

    builder = StateGraph(Plain if record_key is None else Nested)
    builder.add_node("shunt", shunt_node(small, threshold=0.9, labels=LABELS, record_key=record_key, text="ticket"))
    builder.add_node("person", person_node(labels=LABELS, record_key=record_key))
    builder.add_node("model", answered)
    builder.add_edge(START, "shunt")
    route = route_by_confidence(auto=0.9, human=0.6, record_key=record_key)
    builder.add_conditional_edges("shunt", route, {"auto": END, "human": "person", "large": "model"})
    builder.add_edge("person", END)
    builder.add_edge("model", END)
    return builder.compile(saver)


BANDS = {
    "1": "small",
    "0.9": "small",
    "0.89": "human",
    "0.6": "human",
    "0.59": "large",
    "0": "large",
    "nan": "large",
}


@pytest.mark.parametrize("record_key", [None, "shunt"])
@pytest.mark.parametrize(("confidence", "source"), BANDS.items())
def test_a_band_of_confidence_is_for_people(confidence, source, record_key, tmp_path):
    with sqlite3.connect(tmp_path / "checkpoints", check_same_thread=False) as connection:
        built = asking(SqliteSaver(connection, serde=checkpoint_serde()), record_key)
        result = built.invoke({"ticket": confidence}, THREAD)
        if source == "human":
            (asked,) = result["__interrupt__"]
            shown = {"label": "positive", "confidence": float(confidence), "labels": LABELS, "error": None}
            assert asked.value == shown
            again = asking(SqliteSaver(connection, serde=checkpoint_serde()), record_key)  # as after a restart
            (asked,) = again.invoke(Command(resume="neither"), THREAD)["__interrupt__"]
            assert "'neither'" in asked.value["error"]
            result = again.invoke(Command(resume="negative"), THREAD)
        record = result if record_key is None else result[record_key]
        expected = {"small": "positive", "human": "negative", "large": "negative"}
        assert (record["answer"], record["source"]) == (expected[source], source)
    connection.close()


@pytest.mark.parametrize("limits", [{}, {"timeout": 60}], ids=str)
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_app_that_waits_for_a_person_has_not_failed(streamed, limits):
    def ask(state: Any) -> str:
        return str(interrupt("which?"))

    chain = RunnableScorer(run=predict, labels=LABELS) | ConfidenceBranch(large=ask, threshold=0.9, **limits)

    def drained(state: Any) -> Any:
        record: Any = None
        for chunk in chain.stream(state["ticket"]):
            record = chunk if record is None else record + chunk
        return {"answer": record["answer"], "source": record["source"]}

    nodes = (
        [drained] if streamed else [record_node(chain), shunt_node(predict, threshold=0.9, large=ask, labels=LABELS)]
    )
    for node in nodes:
        built = one_node(Plain, node, InMemorySaver(serde=checkpoint_serde()))
        assert built.invoke({"ticket": UNSURE}, THREAD)["__interrupt__"][0].value == "which?"
        result = built.invoke(Command(resume="negative"), THREAD)
        assert (result["answer"], result["source"]) == ("negative", "large")
        if not streamed:
            assert (await built.ainvoke({"ticket": UNSURE}, THREAD))["__interrupt__"]
            assert (await built.ainvoke(Command(resume="negative"), THREAD))["source"] == "large"


def test_an_edge_names_its_ends_and_needs_a_prediction():
    drawn = asking(None).get_graph().draw_mermaid()
    assert "shunt -. &nbsp;human&nbsp; .-> person" in drawn
    route = route_by_confidence(auto={"positive": 0.5}, human=None)
    assert route({"prediction": Prediction(label="positive", confidence=0.5)}) == "auto"
    assert route({"prediction": Prediction(label="negative", confidence=0.99)}) == "large"
    far = route_by_confidence(auto=0.5, max_ood_score=1)
    assert far({"prediction": Prediction(label="positive", confidence=0.9, ood_score=2)}) == "large"
    with pytest.raises(InvalidInputError, match="shunt_node"):
        route({"ticket": SURE})
    with pytest.raises(InvalidInputError, match="checkpoint_serde"):
        route({"prediction": predict(SURE).model_dump()})
    with pytest.raises(ValueError, match=r"human=0\.9"):
        route_by_confidence(auto=0.6, human=0.9)


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Mood(enum.StrEnum):
    GOOD = "good"


PASSAGE = Passage(text="it broke", start=3, number=1)
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
VALUES = {
    "labels": Prediction(label=True, confidence=0.9, probabilities={True: 0.9, False: 0.1}, ood_score=0.5),
    "numbers as labels": Prediction(label=2, confidence=0.5, probabilities={1: 0.5, 2: 0.5}),
    "a value": Prediction(value={"total": 2.5}, confidence=0.9),
    "no label": Prediction(label=None),
    "an answer": LargeAnswer(value="ham", confidence=0.5, usage=USAGE, explanation=Explanation(text="so", usage=USAGE)),
    "an answer of passages": LargeAnswer(value=[PASSAGE]),
    "a passage": PASSAGE,
    "a choice": ModelChoice(model="7b", expected=0.6, foreseen={"7b": 0.7}, failed={"70b": "TimeoutError"}),
    "a checked answer": VerifiedPrediction(
        value="def f(): ...", confidence=0.5, verdict=Verdict(checks=(Check(name="assert f()", status="failed"),))
    ),
    "a result": SubtaskResult(value=[PASSAGE], confidence=0.5, source="small", passages=(PASSAGE,), seconds=2.0),
    "results": SubtaskResults(a=SubtaskResult(value={"deep": [PASSAGE]}), b=SubtaskResult(error="x")),
    "in lists and dicts": {"a": [predict(SURE), {"b": PASSAGE}]},
    "others": [HumanMessage("hi", id="1"), AIMessage("yes", id="2"), uuid.UUID(int=7), None, b"x", {1, 2}, 2.5],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_come_back_as_what_they_were(value):
    serde = checkpoint_serde()
    back = serde.loads_typed(serde.dumps_typed(value))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_a_fitted_models_prediction_survives_any_serializer():
    """LangGraph's own serializer keeps its content, ours its type."""
    (made,) = predictions_of(("ham", "spam"), Scores(np.array([[0.25, 0.75]]), np.array([0.1])), [None])
    ours, theirs = (
        checkpoint_serde(),
        JsonPlusSerializer(allowed_msgpack_modules=[("dsplus_chains.schema.prediction", "Prediction")]),
    )
    assert ours.loads_typed(ours.dumps_typed({"prediction": made}))["prediction"] == made
    assert theirs.loads_typed(theirs.dumps_typed({"prediction": made}))["prediction"] == made
    assert ours.loads_typed(ours.dumps_typed(made.probabilities)) == {"ham": 0.25, "spam": 0.75}


def test_classes_of_the_user_come_back_where_they_are_allowed():
    for serde, kind in ((checkpoint_serde(Mood), Mood), (checkpoint_serde(), str)):
        (back,) = serde.loads_typed(serde.dumps_typed([Mood.GOOD]))
        assert type(back) is kind


STRICT = """
import sqlite3, sys
from typing import Any, TypedDict
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from dsplus_chains import LargeAnswer, Passage, Prediction, SubtaskResult, checkpoint_serde

class State(TypedDict, total=False):
    said: Any

said = [Prediction(label=1, confidence=0.5, probabilities={1: 0.5, 2: 0.5}), LargeAnswer(value=[Passage(text="a")]),
        {"one": SubtaskResult(value=Passage(text="b"), passages=(Passage(text="b"),))}]
builder = StateGraph(State)
builder.add_node("say", lambda state: {"said": said})
builder.add_edge(START, "say")
built = builder.compile(SqliteSaver(sqlite3.connect(sys.argv[1], check_same_thread=False), serde=checkpoint_serde()))
config = {"configurable": {"thread_id": "1"}}
built.invoke({}, config)
back = built.get_state(config).values["said"]
assert repr(back) == repr(said) and back == said, back
print("equal")
"""


@pytest.mark.parametrize("strict", ["true", "false"])
def test_values_survive_a_sqlite_checkpoint_without_a_warning(strict, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STRICT, str(tmp_path / "checkpoints")],
        capture_output=True,
        text=True,
        check=False,
        env={"LANGGRAPH_STRICT_MSGPACK": strict, "PYTHONPATH": str(Path.cwd())},
    )
    assert done.stdout == "equal\n", done.stderr
    assert "eserializ" not in done.stderr


# --- plans ------------------------------------------------------------------------------------------------------------


class Flaky:
    """Subtasks that remember their calls, one of which fails the first time."""

    def __init__(self, broken: str | None = None) -> None:
        self.calls: list[str] = []
        self.broken = broken

    def plan(self, **settings: Any) -> SubtaskDecomposer:
        def named(name: str) -> Any:
            def run(record: Any) -> Any:
                self.calls.append(name)
                if name == self.broken and self.calls.count(name) == 1:
                    raise ConnectionError("down")
                return f"{name}({'+'.join(result.value for result in record['subtasks'].values())})"

            return run

        needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}
        subtasks = [Subtask(name=name, run=named(name), needs=need) for name, need in needs.items()]
        return SubtaskDecomposer(subtasks=subtasks, combine="{d} and {e}", **settings)


async def test_a_plan_as_a_graph_answers_as_the_plan_does():
    expected = Flaky().plan().invoke("x")
    flaky = Flaky()
    built = decomposition_graph(flaky.plan()).compile(InMemorySaver(serde=checkpoint_serde()))
    for given in (built.invoke({"input": "x"}, THREAD), await built.ainvoke({"input": "x"}, THREAD)):
        assert given["answer"] == expected["answer"] == "d(b(a())+c(a())) and e()"
        assert given["source"] == expected["source"]
        assert given["subtasks"] == dict(expected["subtasks"])
    assert sorted(flaky.calls) == sorted("abcde" * 2)


@pytest.mark.parametrize("broken", ["a", "b", "c", "d", "e"])
def test_a_plan_goes_on_in_the_middle_and_no_subtask_that_is_done_runs_again(broken):
    flaky = Flaky(broken)
    built = decomposition_graph(flaky.plan()).compile(InMemorySaver(serde=checkpoint_serde()))
    one_by_one = {**THREAD, "max_concurrency": 1}  # LangGraph forgets what is under way where another one fails
    with pytest.raises(Exception, match="down"):
        built.invoke({"input": "x"}, one_by_one, durability="sync")
    assert built.invoke(None, one_by_one)["answer"] == "d(b(a())+c(a())) and e()"
    assert sorted(flaky.calls) == sorted(["a", "b", "c", "d", "e", broken])


def test_subtasks_are_told_once_in_the_stream_and_tokens_are_counted_as_without_a_graph():
    chat = CountingChat(function=lambda _: "shoes")
    topic = ChatPromptTemplate.from_template("Topic? {input}") | chat
    final = ChatPromptTemplate.from_template("Answer: {subtasks} {input}") | chat | StrOutputParser()
    plan = SubtaskDecomposer(subtasks=[Subtask(name="topic", run=topic)], combine=final)
    built = decomposition_graph(plan).compile()
    given = built.invoke({"input": "they broke"})
    assert (given["source"], given["large"]) == ("large", plan.invoke("they broke")["large"])
    told = list(built.stream({"input": "they broke"}, stream_mode="custom"))
    assert [chunk["dsplus_subtask"]["name"] for chunk in told] == ["topic"]


def test_results_that_lost_their_type_are_refused():
    plan = Flaky().plan()
    built = decomposition_graph(plan).compile()
    node = built.nodes["subtask_b"].bound
    with pytest.raises(InvalidInputError, match="checkpoint_serde"):
        node.invoke({"input": "x", "subtasks": {"a": {"value": "a()"}}})


def test_a_decomposer_that_resumes_keeps_what_the_record_holds():
    flaky = Flaky()
    held = {"a": SubtaskResult(value="A", source="large", calls=1, usage=USAGE), "e": SubtaskResult(value="E")}
    record = flaky.plan(resume=True).invoke({"input": "x", "subtasks": held})
    assert (record["answer"], record["source"]) == ("d(b(A)+c(A)) and E", "large")
    assert record["large"].usage == USAGE
    assert sorted(flaky.calls) == ["b", "c", "d"]
    records = flaky.plan(resume=True).batch([{"input": "x", "subtasks": held}, "y"])
    assert [one["answer"] for one in records] == ["d(b(A)+c(A)) and E", "d(b(a())+c(a())) and e()"]
    assert flaky.plan().invoke({"input": "x", "subtasks": held})["answer"] == "d(b(a())+c(a())) and e()"


# --- a kill -----------------------------------------------------------------------------------------------------------


def run_graph(folder: Path, victim: str) -> Any:
    script = Path(__file__).with_name("killed_graph.py")
    files = [str(folder / "checkpoints"), str(folder / "calls")]
    return subprocess.run(
        [sys.executable, str(script), *files, victim],
        capture_output=True,
        text=True,
        check=False,
        env={"LANGGRAPH_STRICT_MSGPACK": "true", "PYTHONPATH": str(Path.cwd())},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_graph(folder, "nobody")
    assert done.returncode == 0, done.stderr
    return without_times(done.stdout), sorted((folder / "calls").read_text().split())


def without_times(printed: str) -> str:
    import re

    return re.sub(r"seconds=[\d.e-]+", "seconds=…", printed)


@pytest.mark.parametrize("victim", ["small", "long", "combine"])
def test_a_run_that_is_killed_goes_on_with_equal_results(victim, tmp_path, undisturbed):
    killed = run_graph(tmp_path, victim)
    assert killed.returncode == -signal.SIGKILL
    resumed = run_graph(tmp_path, victim)
    assert resumed.returncode == 0, resumed.stderr
    expected, calls = undisturbed
    assert without_times(resumed.stdout) == expected
    assert sorted((tmp_path / "calls").read_text().split()) == sorted([*calls, victim])


# --- threads and tasks ------------------------------------------------------------------------------------------------


async def test_many_runs_at_once_do_not_mix_up():
    built = one_node(Plain, shunt_node(predict, threshold=0.9, labels=LABELS))

    async def sources(text: str) -> list[Any]:
        with decisions() as seen:
            result = await built.ainvoke({"ticket": text})
        return [result["source"], *[one["source"] for one in seen]]

    found = await asyncio.gather(*(sources(text) for text in [SURE, UNSURE] * 30))
    assert found == [["small", "small"], [None, "large"]] * 30
