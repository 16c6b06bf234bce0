"""`shunt`: where the text is, how a label becomes an output, who answered, hints, shadow mode, and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, NewType, NotRequired, Protocol, TypedDict

import pydantic.dataclasses
import pytest
import typing_extensions
from fakes import Recording
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from typing_extensions import ReadOnly

from dsplus_chains import (
    Budget,
    BudgetError,
    ConfidenceBranch,
    InvalidInputError,
    Prediction,
    decisions,
    evaluate,
    shunt,
)
from dsplus_chains.integrations.app_hints import with_hints
from dsplus_chains.integrations.app_text import NoText, text_reader
from dsplus_chains.integrations.field_value import value_of
from dsplus_chains.integrations.output_field import OutputField

LABELS = ["billing", "shipping"]


def small(text: str) -> Prediction:
    return Prediction(label="billing", confidence=0.97 if "refund" in text else 0.5)


def around(app: Any, **settings: Any) -> Any:
    return shunt(app, small, **{"threshold": 0.9, "labels": LABELS, "output": str, **settings})


# --- where the text is ------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class State:
    question: str
    n: int = 0


class Deep(BaseModel):
    request: State


IMAGE = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
AI, HUMAN = AIMessage("yes?"), HumanMessage("a refund")

TEXTS = {
    "a string": ("auto", "a refund", "a refund"),
    "a dict of one": ("auto", {"ticket": "a refund", "id": 7}, "a refund"),
    "a usual key": ("auto", {"question": "a refund", "language": "en"}, "a refund"),
    "an input beside others": ("auto", {"input": "a refund", "chat_history": "long"}, "a refund"),
    "a dataclass": ("auto", State("a refund"), "a refund"),
    "a message": ("auto", HUMAN, "a refund"),
    "messages": ("auto", [SystemMessage("s"), HUMAN], "a refund"),
    "a later turn": ("auto", [HumanMessage("hi"), AI, HUMAN], "a refund"),
    "pairs": ("auto", [("system", "s"), ("human", "a refund")], "a refund"),
    "dicts": ("auto", [{"role": "user", "content": "a refund"}], "a refund"),
    "a state of messages": ("auto", {"messages": [HUMAN], "user": "Jo", "place": "here"}, "a refund"),
    "a conversation under another key": ("auto", {"chat": [("human", "a refund")], "n": 7}, "a refund"),
    "a conversation under a usual key": ("auto", {"history": [HUMAN, AI], "input": [HUMAN]}, "a refund"),
    "an empty history under the usual key": ("auto", {"question": "a refund", "messages": []}, "a refund"),
    "a history under the usual key": ("auto", {"question": "a refund", "messages": [HUMAN, AI]}, "a refund"),
    "a history that ends with the human": ("auto", {"ticket": "a refund", "history": [HumanMessage("hi")]}, "a refund"),
    "a history beside": ("auto", {"ticket": "a refund", "turns": [HumanMessage("hi"), AI]}, "a refund"),
    "a conversation under a usual key beside a text": ("auto", {"language": "de", "input": [HUMAN]}, "a refund"),
    "a text beside names of others": ("auto", {"ticket": "a refund", "user_id": "u", "sessionId": "s"}, "a refund"),
    "a list of one text": ("auto", ["a refund"], "a refund"),
    "blocks": ("auto", [HumanMessage([{"type": "text", "text": "a refund"}])], "a refund"),
    "a prompt value": ("auto", ChatPromptTemplate.from_template("{x}").invoke({"x": "a refund"}), "a refund"),
    "a key": ("b", {"a": "no", "b": "a refund"}, "a refund"),
    "a key with a dot": ("a.b", {"a.b": "a refund"}, "a refund"),
    "a path": ("request.question", Deep(request=State("a refund")), "a refund"),
    "a position": ("pages.-1", {"pages": ["no", "a refund"]}, "a refund"),
    "messages at a key": ("chat", {"chat": [HUMAN]}, "a refund"),
    "a template": ("{a}\n{b.c}", {"a": "a refund", "b": {"c": 3}}, "a refund\n3"),
    "a function": (lambda given: given[0], ["a refund"], "a refund"),
}


@pytest.mark.parametrize(("text", "given", "expected"), TEXTS.values(), ids=TEXTS)
def test_the_text_is_found(text, given, expected):
    assert text_reader(text)(given) == expected


@pytest.mark.parametrize(
    "given", [{"language": "de", "conversation": [HUMAN]}, {"user_id": "u", "payload": {"body": "x"}}]
)
def test_no_text_is_guessed(given):
    with pytest.raises(InvalidInputError, match="Say where it is with text="):
        text_reader("auto")(given)
    assert text_reader("auto")({1: "a refund"}) == "a refund"


APP_ALONE = {
    "an image": [HumanMessage(IMAGE)],
    "an image before": [HumanMessage(IMAGE), AI, HUMAN],
    "an answer last": [HUMAN, AI],
    "a tool's result last": [HUMAN, ToolMessage("7", tool_call_id="1")],
    "no human turn": [SystemMessage("s")],
    "no human turn under another key": {"chat": [HUMAN, AI]},
    "an image beside a conversation": {"input": [HUMAN], "history": [HumanMessage(IMAGE)]},
}


@pytest.mark.parametrize("given", APP_ALONE.values(), ids=APP_ALONE)
def test_what_a_small_model_must_not_judge_goes_to_the_app(given):
    assert isinstance(text_reader("auto")(given), NoText)
    app = Recording(lambda _: "shipping")
    assert around(app, with_record=True).invoke(given)["source"] == "large"


def test_a_list_of_texts_is_a_conversation_where_the_app_takes_it_for_one():
    prompt = ChatPromptTemplate([("system", "s"), MessagesPlaceholder("input")])
    for app in (said(), said().with_retry() | StrOutputParser(), prompt | said(), RunnablePassthrough() | said()):
        records = around(app, with_record=True).batch([["hi", "a refund"], ["a refund", "hi"]])
        assert [record["source"] for record in records] == ["small", "large"]
    two = ChatPromptTemplate([("human", "{language}"), MessagesPlaceholder("input")])
    for app in (two | said(), ChatPromptTemplate.from_template("{input}") | said(), RunnableLambda(str) | said()):
        with pytest.raises(InvalidInputError, match="text="):
            around(app).invoke(["hi", "a refund"])


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_a_message_history_around_a_shunt_is_answered_by_both():
    app = ChatPromptTemplate([("system", "s"), MessagesPlaceholder("input")]) | said()
    kept = {}
    chat = RunnableWithMessageHistory(
        shunt(app, small, threshold=0.9, labels=LABELS),
        lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="input",
    )
    config = {"configurable": {"session_id": "a"}}
    assert [chat.invoke({"input": text}, config).text for text in ("where?", "a refund")] == ["shipping", "billing"]


def test_a_later_turn_can_be_left_to_the_app():
    turns = [HumanMessage("hi"), AI, HUMAN]
    assert isinstance(text_reader("auto", when="single_turn")(turns), NoText)
    assert text_reader("auto", when="single_turn")(turns[2:]) == "a refund"


NO_TEXT = {
    "a number": 7,
    "nothing": {},
    "two texts": {"a": "x", "b": "y"},
    "two usual keys": {"question": "x", "text": "y"},
    "texts in a list": {"pages": ["a", "b"]},
    "a list of texts": ["it is awful", "a refund"],
    "a tuple of texts": ("it is awful", "a refund"),
    "two conversations": {"a": [HUMAN], "b": [HUMAN]},
    "bytes": b"a refund",
    "no text in it": {"n": 7},
}


@pytest.mark.parametrize("given", NO_TEXT.values(), ids=NO_TEXT)
def test_without_a_text_the_error_says_what_could_be_given_and_the_row_fails_alone(given):
    shunted = around(lambda _: "shipping")
    found, answered = shunted.batch([given, "a refund"], return_exceptions=True)
    assert isinstance(found, InvalidInputError)
    assert "text=" in str(found)
    assert answered == "billing"


def test_a_missing_key_is_named():
    with pytest.raises(InvalidInputError, match="'body'"):
        around(lambda _: "shipping", text="request.body").invoke({"request": {"subject": "x"}})


# --- how a label becomes an output ------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class OneField(BaseModel):
    kind: Literal["red", "blue"]


class OptionalRest(BaseModel):
    kind: Colour | None
    note: str = ""


class Rest(BaseModel):
    kind: Literal["red", "blue"]
    reason: str


class Flag(BaseModel):
    urgent: bool


class Aliased(BaseModel):
    kind: Literal["blue", "red"] = Field("blue", alias="Kind")


@pydantic.dataclasses.dataclass
class AliasedData:
    kind: Literal["blue", "red"] = Field("blue", validation_alias=AliasChoices("Kind", "kind"))


class Deeper(BaseModel):
    kind: Literal["blue", "red"] = Field("blue", validation_alias=AliasPath("deep", "kind"))


class Grade(BaseModel):
    grounded: bool


class Typed(TypedDict):
    kind: Literal["red", "blue"]


class OtherTyped(typing_extensions.TypedDict):
    kind: ReadOnly[Literal["red", "blue"]]
    note: NotRequired[Annotated[str, ..., "why"]]


class Stars(TypedDict):
    stars: int


class Held(TypedDict):
    held: Typed


@dataclasses.dataclass
class Data:
    kind: Colour


@dataclasses.dataclass
class Score:
    score: float | None


class Word(str):
    __slots__ = ()


class Level(int):
    pass


class Sized(Protocol):
    size: int


class Strict(str):
    """A text with rules of its own, which pydantic checks."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler.generate_schema(Literal["other"])


def field_of(kind: Any) -> Any:
    """A dataclass with one field."""
    return dataclasses.make_dataclass("Held", [("held", kind)])


def schema_of(part: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"part": part}, "required": ["part"]}


SCHEMA = {"type": "object", "properties": {"kind": {"enum": ["red", "blue"]}}, "required": ["kind"]}

OUTPUTS = {
    "a class": (OneField, ["red", "blue"], OneField(kind="red")),
    "an enum field beside others": (OptionalRest, ["red", "blue"], OptionalRest(kind=Colour.RED)),
    "a yes or no": (Flag, [True, False], Flag(urgent=True)),
    "an alias": (Aliased, ["red"], Aliased(Kind="red")),
    "an alias of a dataclass": (AliasedData, ["red"], AliasedData(Kind="red")),
    "a boolean, as graders answer": (Grade, ["yes", "no"], Grade(grounded=True)),
    "a boolean, as tables say it": (Grade, ["False", "True"], Grade(grounded=False)),
    "a boolean": (bool, ["true", "false"], True),
    "a TypedDict": (Typed, ["red", "blue"], {"kind": "red"}),
    "a TypedDict of typing_extensions": (OtherTyped, ["red", "blue"], {"kind": "red"}),
    "a number in a TypedDict": (Stars, ["5", "4"], {"stars": 5}),
    "a number in a dataclass": (Score, ["0.5", "1"], Score(0.5)),
    "an integer of a JSON schema": (schema_of({"type": "integer"}), ["5", "4"], {"part": 5}),
    "a number of a JSON schema": (schema_of({"type": "number"}), ["4.5", "4"], {"part": 4.5}),
    "a text of a JSON schema": (schema_of({"type": "string"}), [5, 4], {"part": "5"}),
    "a number or nothing": (schema_of({"anyOf": [{"type": "integer"}, {"type": "null"}]}), ["5"], {"part": 5}),
    "two types": (schema_of({"type": ["integer", "null"]}), ["5"], {"part": 5}),
    "a part of any type": (schema_of({"description": "any"}), ["5"], {"part": "5"}),
    "a dataclass": (Data, ["red", "blue"], Data(kind=Colour.RED)),
    "an enum": (Colour, ["red", "blue"], Colour.RED),
    "an enum's names": (Colour, ["RED", "BLUE"], Colour.RED),
    "a JSON schema": (SCHEMA, ["red", "blue"], {"kind": "red"}),
    "a tool": ({"type": "function", "function": {"parameters": SCHEMA}}, ["red", "blue"], {"kind": "red"}),
    "a JSON schema with a field that may be anything": (
        {**SCHEMA, "properties": {**SCHEMA["properties"], "more": True}},
        ["red", "blue"],
        {"kind": "red"},
    ),
    "a text": (str, [1, 2], "1"),
    "a number": (int, ["1", "2"], 1),
    "a message": (AIMessage, ["red", "blue"], None),
    "by label": ({"red": "stop", "blue": "go"}, ["red", "blue"], "stop"),
    "by labels that are words of JSON schemas": ({"red": "R", "properties": "P"}, ["red", "properties"], "R"),
    "a function": (lambda label: {"deep": {"kind": label}}, ["red", "blue"], {"deep": {"kind": "red"}}),
}


FIELD_VALUES = {
    "a class of texts": (Word, "red", Word("red")),
    "a class of texts, or nothing": (Word | None, "red", Word("red")),
    "a class of texts, by a number": (Word, 5, Word("5")),
    "a class of integers": (Level, "5", Level(5)),
    "a class of integers, by a number": (Level, 5, Level(5)),
    "a date": (date, "2024-01-02", date(2024, 1, 2)),
    "a time": (datetime, "2024-01-02T03:04", datetime(2024, 1, 2, 3, 4)),
    "seconds as a span": (timedelta, "PT5S", timedelta(seconds=5)),
    "a number beside a date": (date | str, "5", "5"),
}


@pytest.mark.parametrize(("kind", "label", "expected"), FIELD_VALUES.values(), ids=FIELD_VALUES)
def test_a_field_gets_a_value_of_its_own_class(kind, label, expected):
    found = value_of(OutputField(options=None, needed=True, kind=kind), label)
    assert (found, type(found)) == (expected, type(expected))
    assert shunt(lambda _: None, small, threshold=0.9, labels=[label], output=field_of(kind)).write(label).held == found


NO_FIELD_VALUES = {
    "no integer": (Level, "x"),
    "a protocol": (Sized, "red"),
    "a class with rules of its own": (Strict, "red"),
    "digits as a time": (datetime, "5"),
    "eight digits as a time": (datetime, "20240102"),
    "a number as a time": (datetime | None, 5),
    "a text of zero as a date": (date, "0"),
}


@pytest.mark.parametrize(("kind", "label"), NO_FIELD_VALUES.values(), ids=NO_FIELD_VALUES)
def test_a_field_refuses_what_is_no_value_of_its_class(kind, label):
    with pytest.raises(InvalidInputError, match="the field is of type"):
        value_of(OutputField(options=None, needed=True, kind=kind), label)
    with pytest.raises(ValueError, match="the field is of type"):
        shunt(lambda _: None, small, threshold=0.9, labels=[label], output=field_of(kind))


@pytest.mark.parametrize(("output", "labels", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_label_becomes_an_output_and_is_read_back(output, labels, expected):
    shunted = shunt(
        lambda _: None,
        lambda _: Prediction(label=labels[0], confidence=0.99),
        threshold=0.9,
        labels=labels,
        output=output,
        with_record=True,
    )
    record = shunted.invoke("x")
    if expected is not None:
        assert record["answer"] == expected
        assert repr(record["answer"]) == repr(expected)  # 1 is no 1.0, and no True
    else:
        assert record["answer"].text == "red"
    assert record["answer_label"] == labels[0]


Named = NewType("Named", str)


def maybe_word(text: str) -> Literal["red", "blue"] | None:
    return "blue"


def maybe_object(text: str) -> OneField | None:
    return OneField(kind="blue")


def described(text: str) -> Annotated[str, "a colour"]:
    return "blue"


def named(text: str) -> Named:
    return Named("blue")


def described_enum(text: str) -> Annotated[Colour | None, "a colour"]:
    return Colour.BLUE


def words(text: str) -> list[str]:
    return ["blue"]


def either(text: str) -> OneField | Flag:
    return OneField(kind="blue")


@pytest.mark.parametrize("app", [maybe_word, maybe_object, described, named, described_enum])
def test_the_type_that_a_function_says_is_found_whatever_is_written_around_it(app):
    sure = RunnableLambda(lambda _: Prediction(label="blue", confidence=0.99))
    shunted = shunt(app, sure, threshold=0.9, labels=["red", "blue"])
    assert shunted.invoke("x") == app("x")
    assert shunted.read(app("x")) == "blue"


@pytest.mark.parametrize("output", [OneField | None, Annotated[OneField, "a colour"], NewType("It", OneField)])
def test_so_is_the_type_in_output(output):
    sure = RunnableLambda(lambda _: Prediction(label="blue", confidence=0.99))
    shunted = shunt(lambda _: None, sure, threshold=0.9, labels=["red", "blue"], output=output)
    assert shunted.invoke("x") == OneField(kind="blue")


@pytest.mark.parametrize(("app", "told"), [(words, r"list"), (either, r".*OneField \|.*Flag")])
def test_a_type_that_no_label_is_stands_in_the_error(app, told):
    with pytest.raises(ValueError, match=f"Got an app that answers with {told}.*output="):
        shunt(app, small, threshold=0.9, labels=LABELS)


WRONG = {
    "two labels for one boolean": ({"output": Grade, "labels": ["yes", "no", "true"]}, "agree"),
    "an output that is no type": ({"output": 3}, "Got output=3 "),
    "nothing tells": ({}, "Cannot tell what the app answers with"),
    "a field that no label fills": ({"output": Rest}, "'reason'"),
    "no such value": ({"output": OneField}, "'green'"),
    "a word for a number": ({"output": Stars}, "'red'.*of type int"),
    "a word for a number in a dataclass": ({"output": Score}, "'red'.*float"),
    "a word for a list": ({"output": schema_of({"type": "array", "items": {"type": "string"}})}, "'red'.*of type list"),
    "a word for an object": ({"output": schema_of({"type": "object"})}, "'red'.*of type dict"),
    "a word for a dict of fields": ({"output": Held}, "'red'.*of type Typed"),
    "a label is missing": ({"output": {"red": 1, "blue": 2}}, "'green'"),
    "one output for two labels": ({"output": {"red": 1, "blue": 2, "green": 1}}, "'green'"),
    "no such field": ({"output": OptionalRest, "read": "colour"}, "colour|fields"),
    "a field at a path": ({"output": Deeper, "labels": ["red"]}, "'kind'"),
    "a function that fails": ({"output": lambda label: 1 / 0}, "ZeroDivisionError"),
    "a reader that disagrees": ({"output": str, "read": lambda said: "red"}, "agree"),
    "no threshold": ({"output": str, "threshold": None}, "threshold"),
    "a threshold out of bounds": ({"output": str, "threshold": 1.5}, "1.5|less than or equal"),
    "a threshold for no label": ({"output": str, "threshold": {"Red": 0.9}}, r"\['Red'\].*among \['red', 'blue'"),
    "no place for hints": ({"output": str, "hints": "soft"}, r"\{hints\}"),
    "no model for hints": ({"output": str, "hints": "system"}, "chat model"),
}


@pytest.mark.parametrize(("settings", "said"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_before_the_first_input(settings, said):
    with pytest.raises(ValueError, match=said):
        shunt(lambda given: given, small, **{"threshold": 0.9, "labels": ["red", "blue", "green"], **settings})


# --- who answered -----------------------------------------------------------------------------------------------------


class Runs(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tags: list[str] = []
        self.sources: list[Any] = []

    def on_chain_start(self, *_args: Any, tags: Any = None, metadata: Any = None, **_kwargs: Any) -> None:
        found = [tag for tag in tags or [] if tag.startswith("dsplus:")]
        self.tags += found
        self.sources += [metadata["dsplus_source"]] if found else []


def failing(_given: Any) -> str:
    raise TimeoutError("slow")


@pytest.mark.parametrize("output", [Stars, schema_of({"type": "integer"})], ids=["TypedDict", "JSON schema"])
def test_an_answer_of_the_app_teaches_the_label_whose_type_is_another(output):
    name = "stars" if output is Stars else "part"
    unsure = RunnableLambda(lambda _: Prediction(label="4", confidence=0.5))
    shunted = shunt(lambda _: {name: 5}, unsure, threshold=0.9, labels=["5", "4"], output=output, with_record=True)
    assert shunted.invoke("where?")["answer_label"] == "5"


def test_the_runs_of_both_arms_say_who_answered():
    runs = Runs()
    around(Recording(lambda _: "shipping")).batch(["a refund", "where?"], {"callbacks": [runs]})
    assert sorted(runs.tags) == ["dsplus:large", "dsplus:small"] == sorted(f"dsplus:{said}" for said in runs.sources)
    runs = Runs()
    assert around(failing).invoke("where?", {"callbacks": [runs]}) == "billing"
    assert runs.tags[-1] == "dsplus:fallback"


def test_decisions_are_heard_in_threads_and_tasks_without_cross_talk():
    shunted = around(Recording(lambda _: "shipping"))
    heard = {}

    def in_thread(text: str, n: int) -> None:
        with decisions() as seen:
            for _ in range(n):
                shunted.invoke(text)
        heard[text, n] = [decision["source"] for decision in seen]

    threads = [
        threading.Thread(target=in_thread, args=(text, n)) for text in ("a refund", "where?") for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {"a refund": "small", "where?": "large"}
    assert heard == {(text, n): [expected[text]] * n for text, n in heard}

    async def in_task(text: str) -> list[str]:
        with decisions() as seen:
            await asyncio.gather(*(shunted.ainvoke(text) for _ in range(3)))
        return [decision["source"] for decision in seen]

    async def all_tasks() -> list[list[str]]:
        return await asyncio.gather(*(in_task(text) for text in ["a refund", "where?"] * 8))

    assert asyncio.run(all_tasks()) == [["small"] * 3, ["large"] * 3] * 8


async def test_the_event_is_seen_and_the_record_is_the_output_where_it_is_asked_for():
    shunted = around(Recording(lambda _: "shipping"), with_record=True)
    record = shunted.invoke("where?")
    assert (record["answer"], record["source"], record["large"].value) == ("shipping", "large", "shipping")
    assert record["prediction"].label == "billing"
    events = [event async for event in shunted.astream_events("where?", version="v2")]
    (event,) = [event["data"] for event in events if event["name"] == "dsplus_decision"]
    assert (event["source"], event["threshold"], event["record"]["answer"]) == ("large", 0.9, "shipping")
    total: Any = None
    for chunk in shunted.stream("where?"):
        total = chunk if total is None else total + chunk
    assert {**total, "large": None} == {**record, "large": None}


RECORDS = {
    "the small model": (lambda given: "shipping", "a refund"),
    "the app": (lambda given: "shipping", "where?"),
    "the small model in its place": (failing, "where?"),
}


@pytest.mark.parametrize(("app", "text"), RECORDS.values(), ids=RECORDS)
def test_the_chunks_of_a_record_sum_to_the_record_whoever_answers(app, text):
    shunted = around(app, with_record=True)
    total: Any = None
    for chunk in shunted.stream(text):
        total = chunk if total is None else total + chunk
    assert total == shunted.invoke(text)


# --- shadow mode ------------------------------------------------------------------------------------------------------


def test_in_shadow_mode_the_app_always_answers_and_what_the_small_model_said_can_be_evaluated():
    app = Recording(lambda text: "billing" if "refund" in text else "shipping")
    shunted = around(app, threshold=None, shadow=True)
    texts = ["a refund", "where?", "a refund, please"]
    with decisions() as seen:
        assert shunted.batch(texts) == ["billing", "shipping", "billing"]
    assert app.inputs == texts
    found = evaluate(seen.records, ["billing", "shipping", "shipping"])
    assert (found.accuracy, found.small_accuracy) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    with decisions() as seen:
        around(app, threshold=0.9, shadow=True).batch(texts)
    assert [decision["would_keep"] for decision in seen] == [True, False, True]


def test_in_shadow_mode_no_label_has_to_become_an_output():
    app = RunnableLambda(lambda _: {"category": "shipping", "note": "late"})
    with pytest.raises(ValueError, match="output="):
        shunt(app, small, threshold=0.9, labels=LABELS, read="category")
    silent = shunt(app, small, shadow=True, labels=LABELS, read="category", with_record=True)
    records = silent.batch(["a refund", "where?"])
    assert [record["answer_label"] for record in records] == ["shipping", "shipping"]
    assert [record["prediction"].label for record in records] == ["billing", "billing"]
    assert [record["answer"] for record in records] == [app.invoke("x")] * 2


def test_in_shadow_mode_nothing_of_the_small_model_costs_an_answer():
    def broken(text: str) -> Prediction:
        raise RuntimeError("down")

    shunted = shunt(lambda given: "shipping", broken, shadow=True, labels=LABELS, output=str)
    assert shunted.batch(["x", 7, {"a": "b", "c": "d"}]) == ["shipping"] * 3
    with pytest.raises(TimeoutError):
        shunt(failing, small, shadow=True, labels=LABELS, output=str).invoke("a refund")


# --- hints ------------------------------------------------------------------------------------------------------------

PROMPTS = {
    "a variable": ChatPromptTemplate.from_template("{hints}\nWhich? {ticket}"),
    "a placeholder": ChatPromptTemplate([MessagesPlaceholder("hints", optional=True), ("human", "{ticket}")]),
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_each_row_of_a_batch_gets_its_own_hint_in_the_apps_prompt(prompt):
    def unsure(text: str) -> Prediction:
        return Prediction(label=text, confidence=0.5)

    app = RunnableLambda(lambda text: {"ticket": text}) | prompt | Recording(lambda value: value.to_string())
    shunted = shunt(app, unsure, threshold=0.9, labels=LABELS, output=str, hints="soft")
    for ask in (shunted.batch, lambda texts: asyncio.run(shunted.abatch(texts))):
        for label, sent in zip(LABELS, ask(LABELS), strict=True):
            assert f"- {label}: 50 %" in sent
            assert sent.endswith(label)


def test_a_system_message_tells_the_hint_where_the_prompt_has_no_place():
    model = FakeListChatModel(responses=["shipping"])
    seen = []

    class Listening(BaseCallbackHandler):
        def on_chat_model_start(self, _serialized: Any, messages: Any, **_kwargs: Any) -> None:
            seen.extend(messages[0])

    app = ChatPromptTemplate([("system", "s"), ("human", "{ticket}")]) | model | StrOutputParser()
    shunted = around(app, hints="system", output="auto")
    assert shunted.invoke({"ticket": "where?"}, {"callbacks": [Listening()]}) == "shipping"
    assert [type(message) for message in seen] == [SystemMessage, SystemMessage, HumanMessage]
    assert "billing: 50 %" in seen[1].text


class Sent(BaseCallbackHandler):
    """What each chat model is sent."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_chat_model_start(self, _serialized: Any, messages: Any, **_kwargs: Any) -> None:
        self.texts.append("|".join(message.text for message in messages[0]))


def said(text: str = "shipping") -> FakeListChatModel:
    return FakeListChatModel(responses=[text])


HINTED, PLAIN = ChatPromptTemplate.from_template("{hints}|{ticket}"), ChatPromptTemplate.from_template("{ticket}")
WHICH, NAME = ConfigurableField("which"), ConfigurableField("name")


def rewriting(prompt: Any) -> Any:
    return prompt | said("again") | (lambda message: {"ticket": message.text})


def down(_given: Any) -> Any:
    raise TimeoutError("slow")


HINTED_APPS = {
    "a prompt": ("soft", HINTED | said(), [1]),
    "two prompts": ("soft", rewriting(HINTED) | HINTED | said(), [1, 1]),
    "one of two prompts": ("soft", rewriting(PLAIN) | HINTED | said(), [0, 1]),
    "a fallback alone": ("soft", (PLAIN | RunnableLambda(down)).with_fallbacks([HINTED | said()]), [1]),
    "a bound prompt": ("soft", HINTED.with_config(tags=["t"]) | said(), [1]),
    "a configurable prompt": ("soft", HINTED.configurable_fields(name=NAME) | said(), [1]),
    "a configurable app": ("soft", (HINTED | said()).configurable_alternatives(WHICH, b=PLAIN | said()), [1]),
    "another alternative": ("soft", (PLAIN | said()).configurable_alternatives(WHICH, it=lambda: HINTED | said()), [1]),
    "steps side by side": (
        "soft",
        {"ticket": HINTED | said("one"), "hints": HINTED | said("two")} | HINTED | said(),
        [1, 1, 1],
    ),
    "a branch": ("soft", RunnableBranch((lambda given: False, PLAIN | said()), HINTED | said()), [1]),
    "a condition": ("soft", RunnableBranch((HINTED | said() | bool, PLAIN | said()), PLAIN | said()), [1, 0]),
    "the model that answers": ("system", rewriting(PLAIN) | PLAIN | said(), [0, 1]),
    "a model in a condition": ("system", RunnableBranch((PLAIN | said() | bool, PLAIN | said()), said()), [0, 1]),
    "a fallback of the model": ("system", PLAIN | RunnableLambda(down).with_fallbacks([said()]), [1]),
    "a bound model": ("system", PLAIN | said().bind(stop=["x"]).with_retry(), [1]),
    "a configurable model": ("system", PLAIN | said().configurable_fields(responses=NAME), [1]),
    "alternatives of a model": ("system", PLAIN | said().configurable_alternatives(WHICH, it=said()), [1]),
}


@pytest.mark.parametrize(("hints", "app", "told"), HINTED_APPS.values(), ids=HINTED_APPS)
def test_a_hint_is_told_wherever_the_app_has_a_place_for_it(hints, app, told):
    sent, values = Sent(), {"which": "it"} if "it" in getattr(app, "alternatives", {}) else {}
    around(app, hints=hints).invoke({"ticket": "where?"}, {"callbacks": [sent], "configurable": values})
    assert [text.count("- billing: 50 %") for text in sent.texts] == told


def test_a_config_still_reaches_what_is_hinted_and_its_schemas_are_the_steps_own():
    app = PLAIN | said().configurable_fields(responses=NAME) | StrOutputParser()
    shunted = around(app, hints="system")
    config: Any = {"configurable": {"name": ["billing"]}}
    assert (shunted.invoke({"ticket": "where?"}), shunted.invoke({"ticket": "where?"}, config)) == tuple(LABELS[::-1])
    hinted = HINTED.configurable_fields(name=NAME)
    for place, step in {"soft": hinted, "system": said().configurable_fields(responses=NAME)}.items():
        found = with_hints(step, place)
        assert found is not step
        own = step.get_input_jsonschema()
        if place == "soft":  # the hint is given by the shunt, and not by the caller
            own |= {"properties": {"ticket": own["properties"]["ticket"]}, "required": ["ticket"]}
        assert found.get_input_jsonschema() == own
        assert found.get_output_jsonschema() == step.get_output_jsonschema()
        assert (found.InputType, found.OutputType) == (step.InputType, step.OutputType)
        assert found.config_specs == step.config_specs != []


# --- what a template or a path leads to -------------------------------------------------------------------------------

TURNS = [HumanMessage("hi"), AI, HUMAN]
CALL = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
SHOWN = [HumanMessage(IMAGE), AI, HUMAN]
TALK = [{"type": "text", "text": "a refund"}]

FOUND = {
    "a conversation in a template": ("{lang}: {chat}", {"lang": "en", "chat": [HUMAN]}, "en: a refund", "en: a refund"),
    "a later turn in a template": ("{chat}", {"chat": TURNS}, "hi\nyes?\na refund", None),
    "pairs in a template": ("{chat}!", {"chat": [("human", "a refund")]}, "a refund!", "a refund!"),
    "a history": ("{past}\n{question}", {"past": TURNS[:2], "question": "and?"}, "hi\nyes?\nand?", None),
    "an empty history": ("{past}{question}", {"past": [], "question": "and?"}, "and?", "and?"),
    "an answer last": ("{chat}", {"chat": [HUMAN, AI]}, None, None),
    "a call of a tool": ("{lang} {chat}", {"lang": "en", "chat": [HUMAN, CALL]}, None, None),
    "a tool's result": (
        "{lang} {chat}",
        {"lang": "en", "chat": [HUMAN, ToolMessage("7", tool_call_id="1")]},
        None,
        None,
    ),
    "an image in a template": ("{lang}: {chat}", {"lang": "en", "chat": [HumanMessage(IMAGE)]}, None, None),
    "an image before": ("{chat}", {"chat": SHOWN}, None, None),
    "an image in a history": ("{past} {question}", {"past": SHOWN[:2], "question": "and?"}, None, None),
    "a message's text": ("{chat.-1.text}!", {"chat": TURNS}, "a refund!", None),
    "a message's blocks": ("{chat.0.content}!", {"chat": [HumanMessage(TALK)]}, "a refund!", "a refund!"),
    "a text beside an image": ("{chat.0.text}", {"chat": [HumanMessage(IMAGE)]}, None, None),
    "a path to a text": ("chat.-1.text", {"chat": TURNS}, "a refund", None),
    "a path to the first text": ("chat.0.text", {"chat": [HUMAN]}, "a refund", "a refund"),
    "a path past an image": ("chat.-1.text", {"chat": SHOWN}, None, None),
    "a path to a text by an image": ("chat.0.text", {"chat": [HumanMessage(IMAGE)]}, None, None),
    "a path to blocks": ("chat.0.content", {"chat": [HumanMessage(TALK)]}, "a refund", "a refund"),
    "a path to an image": ("chat.0.content", {"chat": [HumanMessage(IMAGE)]}, None, None),
    "blocks without a message": ("said", {"said": IMAGE}, None, None),
    "a function to blocks": (lambda given: given["said"], {"said": IMAGE}, None, None),
    "a function to a later turn": (lambda given: given["chat"], {"chat": TURNS}, "a refund", None),
    "an input beside a history": ("auto", {"input": "and?", "chat_history": TURNS[:2]}, "and?", None),
    "an input beside an image": ("auto", {"input": "and?", "chat_history": SHOWN[:2]}, None, None),
    "an input while a tool is at work": ("auto", {"input": "add it", "agent_scratchpad": [CALL]}, None, None),
    "an input beside other lists": ("auto", {"input": "x", "only": [{"type": "date"}], "ids": [("a", "b")]}, "x", "x"),
}


@pytest.mark.parametrize(("text", "given", "each", "single"), FOUND.values(), ids=FOUND)
def test_the_rules_of_turns_and_images_hold_however_the_text_is_found(text, given, each, single):
    found = [text_reader(text, when=when)(given) for when in ("each_turn", "single_turn")]
    assert [None if isinstance(said, NoText) else said for said in found] == [each, single]
    app = Recording(lambda _: "shipping")
    settings: Any = {"threshold": 0.9, "labels": LABELS, "text": text, "output": str}
    answer = shunt(app, lambda _: Prediction(label="billing", confidence=1), **settings).invoke(given)
    assert (answer, app.inputs) == (("shipping", [given]) if each is None else ("billing", []))


# --- as the app's -----------------------------------------------------------------------------------------------------


def test_a_batch_is_one_call_of_the_scorer_and_one_batch_of_the_app():
    app, scorer = Recording(lambda _: "shipping"), Recording(small)
    shunted = shunt(app, scorer, threshold=0.9, labels=LABELS, output=str)
    assert shunted.batch(["a refund", "where?", "when?"]) == ["billing", "shipping", "shipping"]
    assert (scorer.sizes, app.sizes) == ([3], [2])


def test_the_app_gets_the_very_object():
    given = {"ticket": "where?", "answer": 1, "source": 2, "prediction": 3}
    seen = []
    shunted = around(RunnableLambda(lambda value: seen.append(value) or "shipping"), text="ticket")
    assert shunted.invoke(given) == "shipping"
    assert seen[0] is given
    assert given == {"ticket": "where?", "answer": 1, "source": 2, "prediction": 3}


def test_the_threshold_of_the_whole_shunt_is_configurable_and_rows_of_one_value_share_a_batch():
    app = Recording(lambda _: "shipping")
    shunted = around(app).configurable_fields(threshold=ConfigurableField(id="threshold"))
    configs = [{"configurable": {"threshold": value}} for value in (0.4, 0.6, 0.6)]
    assert shunted.batch(["where?"] * 3, configs) == ["billing", "shipping", "shipping"]
    assert app.sizes == [2]


@pytest.mark.filterwarnings("ignore:This API is in beta")
def test_it_is_named_and_has_the_schemas_the_graph_and_the_tool_of_the_app():
    app = ChatPromptTemplate.from_template("{ticket}") | FakeListChatModel(responses=["shipping"]) | StrOutputParser()
    shunted = around(app, output="auto")
    assert shunted.get_name() == "shunt"
    assert shunted.get_input_jsonschema() == app.get_input_jsonschema()
    assert shunted.get_output_jsonschema() == app.get_output_jsonschema()
    drawn = shunted.get_graph().draw_mermaid()
    assert "FakeListChatModel" in drawn
    tool = shunted.as_tool(name="triage", description="which team")
    assert tool.invoke({"ticket": "a refund"}) == "billing"
    assert shunted.with_retry().invoke({"ticket": "where?"}) == "shipping"


def test_a_stream_of_the_app_that_breaks_off_is_raised_and_one_that_never_starts_falls_back():
    def never(chunks: Any) -> Any:
        raise TimeoutError("down")
        yield  # a generator

    def breaks_off(chunks: Any) -> Any:
        yield "ship"
        raise TimeoutError("down")

    assert list(around(RunnableGenerator(never)).stream("where?")) == ["billing"]
    with pytest.raises(TimeoutError):
        list(around(RunnableGenerator(breaks_off)).stream("where?"))
    with pytest.raises(TimeoutError):
        around(failing, on_large_error="raise").invoke("where?")


# --- the edges --------------------------------------------------------------------------------------------------------


def test_a_step_after_the_structured_output_makes_something_else_of_it():
    from langchain_openai import ChatOpenAI

    structured = ChatOpenAI(model="m", api_key="none").with_structured_output(OneField)
    with pytest.raises(ValueError, match="Cannot tell what the app answers with"):
        shunt(structured | (lambda found: found.kind.upper()), small, threshold=0.9, labels=["red", "blue"])


@pytest.mark.parametrize(
    "choice",
    [
        "any",
        "Color",
        True,
        {"type": "tool", "name": "Color"},
        {"any": {}},
        {"tool": {"name": "Color"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
    ],
)
def test_a_model_that_must_call_a_tool_cannot_answer_with_a_text(choice):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="none").bind(tools=[], tool_choice=choice)
    with pytest.raises(ValueError, match="Cannot tell what the app answers with"):
        shunt(model, small, threshold=0.9, labels=["red", "blue"])


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "none",
        None,
        {"type": "auto"},
        {"auto": {}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    ],
)
def test_a_model_that_may_call_a_tool_can_answer_with_a_text(choice):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="none").bind(tools=[], tool_choice=choice)
    assert isinstance(shunt(model, small, threshold=0.9, labels=LABELS).invoke("a refund"), AIMessage)


def test_no_two_answers_are_one_object():
    shunted = around(failing, output={"billing": {"reply": []}, "shipping": {"reply": [1]}})
    shunted.invoke("a refund")["reply"].append("written by a caller")
    assert shunted.invoke("a refund") == {"reply": []}


def test_an_output_that_cannot_be_read_stays_the_answer():
    def read(said: str) -> str:
        if said in LABELS:
            return said
        raise ValueError("no label")

    shunted = around(lambda given: "hello", read=read, with_record=True)
    record = shunted.invoke("where?")
    assert (record["answer"], record["answer_label"], record["source"]) == ("hello", None, "large")
    assert list(around(lambda given: "hello", read=read).stream("where?")) == ["hello"]


def test_in_shadow_mode_neither_a_reader_nor_a_scorer_nor_a_budget_costs_the_apps_answer():
    def bug(text: str) -> Prediction:
        raise TypeError(text)

    app = FakeListChatModel(responses=["shipping"]) | StrOutputParser()
    silent = shunt(app, bug, shadow=True, labels=LABELS)
    assert silent.invoke("a refund") == "shipping"
    assert around(app, shadow=True, text=lambda given: given["ticket"]).invoke("a refund") == "shipping"
    with pytest.raises(BudgetError):
        around(app, shadow=True, budget=Budget(max_tokens=1)).invoke("where?")


def test_where_messages_should_be_no_other_text_is_read():
    assert isinstance(text_reader("auto")({"messages": [], "user": "u-17"}), NoText)
    with pytest.raises(InvalidInputError, match="text="):
        text_reader("auto")({"messages": [{"foo": 1}], "lang": "en"})


def test_a_template_takes_documents_and_messages_but_no_repr():
    read = text_reader("{question}\n{context}")
    assert read({"question": "q", "context": [Document("d1"), HumanMessage("d2")]}) == "q\nd1\nd2"
    with pytest.raises(InvalidInputError, match="in a template"):
        read({"question": "q", "context": {"a": 1}})


def test_messages_for_a_placeholder_are_messages():
    seen = []
    prompt = ChatPromptTemplate([MessagesPlaceholder("chat")])
    arm = prompt | RunnableLambda(lambda value: seen.append(value.to_messages()) or "billing")
    given = [HumanMessage("where?")]
    ConfidenceBranch(large=arm, threshold=0.9).invoke({"input": given, "prediction": small("where?")})
    assert seen == [given]


def test_a_scorer_with_a_config_keeps_its_labels(scorer):
    app = FakeListChatModel(responses=["Positive."]) | StrOutputParser()
    record = shunt(app, scorer.with_config(tags=["x"]), threshold=1.0, with_record=True).invoke("hm")
    assert record["answer_label"] == "positive"


def test_a_time_out_of_the_app_in_a_stream_is_told_as_it_is():
    def slow(given: Any) -> str:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        list(around(slow, on_large_error="raise").stream("where?"))


def test_a_block_inside_of_another_is_heard_by_both():
    shunted = around(lambda given: "shipping")
    with decisions() as outer:
        with decisions() as inner:
            shunted.invoke("a refund")
        shunted.invoke("where?")
    assert ([said["source"] for said in outer], len(inner)) == (["small", "large"], 1)


@pytest.mark.parametrize("text", ["docs", "Q {docs}"])
def test_rows_of_data_are_no_blocks_of_a_message(text):
    rows = {"docs": [{"type": "invoice", "amount": 3}]}
    with pytest.raises(ValueError, match="expected"):
        text_reader(text)(rows)
    blocks = {"docs": [{"type": "text", "text": "hi"}]}
    assert str(text_reader(text)(blocks)).endswith("hi")
    assert isinstance(text_reader(text)({"docs": [{"type": "image_url", "image_url": {"url": "x"}}]}), NoText)


def test_each_label_is_written_once_when_a_shunt_is_made():
    written = []

    def small(ticket):
        return Prediction(label="billing", confidence=0.5)

    app = PLAIN | said() | StrOutputParser()
    shunt(app, small, threshold=0.9, labels=LABELS, output=lambda label: written.append(label) or label)
    assert written == LABELS
