"""`ShuntMiddleware` before agents: who answers, hints, structured output, other middleware, streams, many at once."""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from openai_server import openai_server
from pydantic import BaseModel, Field

pytest.importorskip("langchain")
pytest.importorskip("langgraph.graph")

from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from dsplus_chains import Prediction, ShuntMiddleware, WiringError, decisions

LABELS = ["billing", "shipping"]
SURE, UNSURE = "a refund", "where?"
HINT = "billing: 50 %"
THREAD = {"configurable": {"thread_id": "1"}}


class Scorer:
    """A small model that remembers what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, text: str) -> Prediction:
        self.read.append(text)
        return Prediction(label="billing", confidence=0.97 if "refund" in text else 0.5)


class Scripted(BaseChatModel):
    """A chat model that says one thing after the other, and remembers what it was sent. An exception is raised."""

    script: list[Any]
    sent: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        said = self.script[len(self.sent) % len(self.script)]
        self.sent.append(list(messages))
        if isinstance(said, Exception):
            raise said
        message = said.model_copy() if isinstance(said, AIMessage) else AIMessage(said)
        return ChatResult(generations=[ChatGeneration(message=message)])


@tool
def look_up(order: str) -> str:
    """Look an order up."""
    return f"{order} is on its way"


LOOKS_UP = AIMessage("", tool_calls=[{"name": "look_up", "args": {"order": "7"}, "id": "c1"}])


class Ticket(BaseModel):
    """A ticket."""

    category: Literal["billing", "shipping"]


def shunted(model: Any, scorer: Any = None, *, before: Any = (), behind: Any = (), agent: Any = None, **settings: Any):
    middleware = ShuntMiddleware(scorer or Scorer(), **{"threshold": 0.9, "labels": LABELS, **settings})
    return create_agent(model, middleware=[*before, middleware, *behind], **(agent or {}))


def said(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def last(result: Any) -> str:
    return str(result["messages"][-1].text)


def system(messages: Any) -> str:
    return "\n".join(message.text for message in messages if isinstance(message, SystemMessage))


# --- who answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", [{}, {"tools": [look_up]}, {"system_prompt": "Be kind."}], ids=",".join)
async def test_a_sure_turn_calls_no_model_and_an_unsure_one_the_agent(agent):
    model = Scripted(script=["on its way"])
    built = shunted(model, agent=agent)
    for answer in (built.invoke(said(SURE)), await built.ainvoke(said(SURE))):
        assert last(answer) == "billing"
        assert answer["messages"][-1].response_metadata["model_name"] == "dsplus_chains"
        assert set(answer) == {"messages"}
    assert model.sent == []
    for answer in (built.invoke(said(UNSURE)), await built.ainvoke(said(UNSURE))):
        assert last(answer) == "on its way"
        assert set(answer) == {"messages"}
    assert len(model.sent) == 2


ALONE = {
    "an image": [HumanMessage([{"type": "text", "text": SURE}, {"type": "image_url", "image_url": {"url": "data:,"}}])],
    "an answer last": [HumanMessage(SURE), AIMessage("yes?")],
    "nothing to read": [HumanMessage("")],
}


@pytest.mark.parametrize("messages", ALONE.values(), ids=ALONE)
def test_what_a_small_model_must_not_judge_is_left_to_the_agent(messages):
    assert last(shunted(Scripted(script=["hm"])).invoke({"messages": messages})) == "hm"


def test_a_small_model_that_fails_costs_no_answer():
    def broken(text: str) -> Prediction:
        raise ConnectionError("down")

    assert last(shunted(Scripted(script=["hm"]), broken).invoke(said(SURE))) == "hm"


def test_each_turn_is_decided_once_and_anew():
    model, scorer = Scripted(script=["first", "third"]), Scorer()
    built = shunted(model, scorer, agent={"checkpointer": InMemorySaver()})
    assert [last(built.invoke(said(text), THREAD)) for text in (UNSURE, SURE, UNSURE)] == ["first", "billing", "third"]
    assert scorer.read == [UNSURE, SURE, UNSURE]
    assert all(system(sent).count(HINT) == 1 for sent in model.sent)
    only_first = shunted(model, when="single_turn", agent={"checkpointer": InMemorySaver()})
    assert last(only_first.invoke(said(SURE), THREAD)) == "billing"
    assert last(only_first.invoke(said(SURE), THREAD)) in {"first", "third"}


REPLIES = {
    "the label": (None, "billing"),
    "texts": ({"billing": "We look at your bill.", "shipping": "It is on its way."}, "We look at your bill."),
    "messages": ({label: AIMessage(f"To {label}", name="desk") for label in LABELS}, "To billing"),
    "a function": (lambda label: f"This is about {label}.", "This is about billing."),
}


@pytest.mark.parametrize(("reply", "text"), REPLIES.values(), ids=REPLIES)
def test_a_label_becomes_a_message_and_each_turn_has_its_own(reply, text):
    built = shunted(Scripted(script=["hm"]), reply=reply, agent={"checkpointer": InMemorySaver()})
    built.invoke(said(SURE), THREAD)
    messages = built.invoke(said(SURE), THREAD)["messages"]
    assert [message.text for message in messages] == [SURE, text, SURE, text]
    assert len({message.id for message in messages}) == 4


WRONG = {
    "a label without a reply": ({"reply": {"billing": "x"}}, "shipping"),
    "a label without structure": ({"structured": {"billing": "x"}}, "shipping"),
    "a class that a label cannot fill": ({"structured": Prediction}, "Prediction"),
    "a threshold": ({"threshold": 1.5}, "threshold"),
    "hints": ({"hints": "hard"}, "'hard'"),
}


@pytest.mark.parametrize(("settings", "told"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_before_the_first_turn(settings, told):
    with pytest.raises(ValueError, match=told):
        ShuntMiddleware(Scorer(), **{"threshold": 0.9, "labels": LABELS, **settings})


# --- hints ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [None, "Be kind.", SystemMessage([{"type": "text", "text": "Be kind."}])], ids=str)
async def test_every_call_of_an_unsure_turn_is_told_also_after_a_tool_call(prompt):
    model, scorer = Scripted(script=[LOOKS_UP, "on its way"]), Scorer()
    built = shunted(model, scorer, agent={"tools": [look_up], "system_prompt": prompt})
    assert last(built.invoke(said(UNSURE))) == last(await built.ainvoke(said(UNSURE))) == "on its way"
    assert scorer.read == [UNSURE, UNSURE]
    assert [isinstance(sent[-1], ToolMessage) for sent in model.sent] == [False, True] * 2
    for sent in model.sent:
        assert HINT in system(sent)
        assert len([message for message in sent if isinstance(message, SystemMessage)]) == 1
        assert system(sent).startswith("A small model" if prompt is None else "Be kind.")


def test_without_hints_the_requests_are_the_same_bytes():
    from langchain_openai import ChatOpenAI

    with openai_server(lambda _: "on its way") as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="k", max_retries=0)
        plain = {"tools": [look_up], "system_prompt": "Be kind."}
        create_agent(model, **plain).invoke(said(UNSURE))
        alone = server.taken()
        shunted(model, hints="none", agent=plain).invoke(said(UNSURE))
        assert server.taken() == alone
        shunted(model, agent=plain).invoke(said(UNSURE))
        (told,) = server.taken()
        assert HINT.encode() in told


# --- structured output ------------------------------------------------------------------------------------------------

STRUCTURES = {
    "a class": (Ticket, Ticket(category="billing")),
    "by label": ({label: Ticket(category=label) for label in LABELS}, Ticket(category="billing")),
    "a function": (lambda label: {"category": label}, {"category": "billing"}),
}
FILLS = AIMessage("", tool_calls=[{"name": "Ticket", "args": {"category": "shipping"}, "id": "c1"}])


@pytest.mark.parametrize(("structured", "expected"), STRUCTURES.values(), ids=STRUCTURES)
def test_a_label_fills_the_structured_response_and_no_turn_keeps_that_of_another(structured, expected):
    agent = {"response_format": ToolStrategy(Ticket), "checkpointer": InMemorySaver()}
    built = shunted(Scripted(script=[FILLS]), structured=structured, agent=agent)
    found = [built.invoke(said(text), THREAD)["structured_response"] for text in (UNSURE, SURE, UNSURE)]
    assert found == [Ticket(category="shipping"), expected, Ticket(category="shipping")]


def test_structured_output_can_be_left_to_the_agent_and_is_never_left_out():
    model = Scripted(script=[FILLS])
    built = shunted(model, structured="defer", agent={"response_format": ToolStrategy(Ticket)})
    assert built.invoke(said(SURE))["structured_response"] == Ticket(category="shipping")
    assert "billing: 97 %" in system(model.sent[0])
    with pytest.raises(WiringError, match="structured="):
        shunted(model, agent={"response_format": ToolStrategy(Ticket)}).invoke(said(UNSURE))


class Typed(TypedDict):
    category: Literal["billing", "shipping"]


@dataclasses.dataclass
class Flat:
    category: Literal["billing", "shipping"]


SCHEMA = {"title": "Ticket", **Ticket.model_json_schema()}
FORMATS = {
    "a class": (Ticket, Ticket),
    "a tool": (ToolStrategy(Ticket), Ticket),
    "the provider": (ProviderStrategy(Ticket), Ticket),
    "a dataclass": (ToolStrategy(Flat), Flat),
    "a typed dict": (Typed, dict),
    "a JSON schema": (SCHEMA, dict),
    "a JSON schema of the provider": (ProviderStrategy(SCHEMA), dict),
}


@pytest.mark.parametrize(("wanted", "kind"), FORMATS.values(), ids=FORMATS)
async def test_the_agents_own_format_is_filled_from_the_first_turn_on(wanted, kind):
    call = {"name": kind.__name__ if kind is not dict else "Typed" if wanted is Typed else "Ticket", "id": "c1"}
    told = AIMessage("", tool_calls=[{**call, "args": {"category": "shipping"}}])
    if isinstance(wanted, ProviderStrategy):
        told = AIMessage('{"category": "shipping"}')
    model, scorer = Scripted(script=[told]), Scorer()
    built = shunted(
        model, scorer, structured="auto", agent={"response_format": wanted, "checkpointer": InMemorySaver()}
    )
    answers = [built.invoke(said(text), THREAD) for text in (SURE, UNSURE)]
    answers += [await built.ainvoke(said(text), THREAD) for text in (SURE, UNSURE)]
    expected = [kind(category="billing"), kind(category="shipping")] * 2
    assert [answer["structured_response"] for answer in answers] == expected
    assert [last(answers[0]), last(answers[2])] == ["billing", "billing"]
    assert (len(model.sent), scorer.read) == (2, [SURE, UNSURE, SURE, UNSURE])
    assert all(HINT in system(sent) for sent in model.sent)


async def test_an_agent_without_a_format_is_answered_in_place_of_its_call():
    model = Scripted(script=[LOOKS_UP, "on its way"])
    built = shunted(
        model, structured="auto", reply={label: label.title() for label in LABELS}, agent={"tools": [look_up]}
    )
    for answer in (built.invoke(said(SURE)), await built.ainvoke(said(SURE))):
        assert (last(answer), len(answer["messages"]), "structured_response" in answer) == ("Billing", 2, False)
    streamed = [piece async for piece, _ in built.astream(said(SURE), stream_mode="messages")]
    assert [piece.text for piece in streamed] == ["Billing"]
    assert model.sent == []
    assert last(built.invoke(said(UNSURE))) == "on its way"


class Pair(BaseModel):
    """A label cannot fill both."""

    category: Literal["billing", "shipping"]
    note: str


def test_a_format_that_no_label_fills_is_told_in_the_first_turn():
    built = shunted(Scripted(script=["hm"]), structured="auto", agent={"response_format": ToolStrategy(Pair)})
    for text in (SURE, UNSURE):
        with pytest.raises(WiringError, match=r"no label fills; give structured=.*'note'"):
            built.invoke(said(text))


def test_an_answer_in_place_of_a_call_counts_as_one():
    limit, fills = ModelCallLimitMiddleware(thread_limit=1), {"response_format": ToolStrategy(Ticket)}
    agent = {"checkpointer": InMemorySaver(), **fills}
    built = shunted(Scripted(script=[FILLS]), structured="auto", behind=[limit], agent=agent)
    assert last(built.invoke(said(SURE), THREAD)) == "billing"
    assert "limit" in last(built.invoke(said(SURE), THREAD))


def test_what_its_docstring_says_of_a_format_and_of_hints():
    early = shunted(Scripted(script=[FILLS]), agent={"response_format": ToolStrategy(Ticket)}).invoke(said(SURE))
    assert (last(early), "structured_response" in early) == ("billing", False)
    for settings, text, count in (({}, UNSURE, 1), ({"hints": "none"}, UNSURE, 0), ({}, "", 0)):
        model = Scripted(script=["hm"])
        shunted(model, **settings).invoke(said(text))
        assert [system(sent).count(HINT) for sent in model.sent] == [count]


# --- beside other middleware ------------------------------------------------------------------------------------------


def test_it_reads_what_a_redaction_before_it_leaves():
    scorer = Scorer()
    built = shunted(Scripted(script=["hm"]), scorer, before=[PIIMiddleware("email")])
    answer = built.invoke(said("a refund to jo@example.org"))
    assert last(answer) == "billing"
    assert scorer.read == ["a refund to [REDACTED_EMAIL]"]


@pytest.mark.parametrize("place", ["before", "behind"])
def test_small_answers_do_not_count_as_calls_of_the_model(place):
    limit = ModelCallLimitMiddleware(thread_limit=2)
    built = shunted(Scripted(script=["hm"]), agent={"checkpointer": InMemorySaver()}, **{place: [limit]})
    said_last = [last(built.invoke(said(text), THREAD)) for text in (SURE, SURE, SURE, UNSURE, SURE, UNSURE)]
    assert said_last == ["billing", "billing", "billing", "hm", "billing", "hm"]
    assert built.get_state(THREAD).values["thread_model_call_count"] == 2
    assert "limit" in last(built.invoke(said(UNSURE), THREAD))
    if place == "behind":
        assert last(built.invoke(said(SURE), THREAD)) == "billing"


async def test_retries_and_fallbacks_are_told_too():
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    for place in ("before", "behind"):
        model = Scripted(script=[ConnectionError("down"), "on its way"])
        built = shunted(model, **{place: [retry]})
        assert last(built.invoke(said(UNSURE))) == last(await built.ainvoke(said(UNSURE))) == "on its way"
        assert [HINT in system(sent) for sent in model.sent] == [True] * 4
        other = Scripted(script=["from the other"])
        down = Scripted(script=[ConnectionError("down")])
        built = shunted(down, **{place: [ModelFallbackMiddleware(other)]})
        assert last(built.invoke(said(UNSURE))) == "from the other"
        assert HINT in system(other.sent[0])


def test_two_of_them_have_two_names():
    second = ShuntMiddleware(
        lambda text: Prediction(label="shipping", confidence=0.99), threshold=0.9, labels=LABELS, name="second"
    )
    built = shunted(Scripted(script=["hm"]), behind=[second])
    assert [last(built.invoke(said(text))) for text in (SURE, UNSURE)] == ["billing", "shipping"]


# --- who answered, streams, threads and tasks -------------------------------------------------------------------------


def test_decisions_are_heard_and_are_in_the_stream_of_the_graph():
    built = shunted(Scripted(script=["hm"]))
    with decisions() as seen:
        built.invoke(said(SURE))
        built.invoke(said(UNSURE))
    assert [(one["source"], one["label"], one["threshold"]) for one in seen] == [
        ("small", "billing", 0.9),
        ("large", "billing", 0.9),
    ]
    assert [record["answer"] for record in seen.records] == ["billing"]
    for text, source in ((SURE, "small"), (UNSURE, "large")):
        (chunk,) = built.stream(said(text), stream_mode="custom")
        assert chunk["dsplus_decision"]["source"] == source
        assert "record" not in chunk["dsplus_decision"]


async def test_a_small_answer_is_one_message_of_a_stream():
    built = shunted(Scripted(script=["hm"]))
    for text, expected in ((SURE, "billing"), (UNSURE, "hm")):
        chunks = [chunk.text for chunk, _ in built.stream(said(text), stream_mode="messages")]
        assert [chunk for chunk in chunks if chunk] == [expected]
        chunks = [chunk.text async for chunk, _ in built.astream(said(text), stream_mode="messages")]
        assert [chunk for chunk in chunks if chunk] == [expected]


async def test_sixty_threads_and_sixty_tasks_do_not_mix_up():
    def view(text: str) -> Prediction:
        number = int(text)
        return Prediction(label=LABELS[number % 2], confidence=0.95 if number % 3 else 0.4)

    class Echo(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            message = AIMessage(f"{messages[-1].text} {LABELS[0] in system(messages)}")
            return ChatResult(generations=[ChatGeneration(message=message)])

    built = shunted(Echo(script=[]), view)
    expected = [LABELS[n % 2] if n % 3 else f"{n} {n % 2 == 0}" for n in range(60)]

    def in_thread(number: int) -> tuple[str, list[str]]:
        with decisions() as seen:
            answer = last(built.invoke(said(str(number))))
        return answer, [one["source"] for one in seen]

    async def in_task(number: int) -> tuple[str, list[str]]:
        with decisions() as seen:
            answer = last(await built.ainvoke(said(str(number))))
        return answer, [one["source"] for one in seen]

    with ThreadPoolExecutor(60) as pool:
        threads = list(pool.map(in_thread, range(60)))
    tasks = await asyncio.gather(*(in_task(number) for number in range(60)))
    heard = [["small"] if n % 3 else ["large"] for n in range(60)]
    assert threads == tasks == list(zip(expected, heard, strict=True))
