"""`ShuntChatModel`: who answers, what is sent, what is counted and heard, and what is refused."""

from __future__ import annotations

import asyncio
import json
from contextvars import copy_context
from typing import Any

import pytest
from fakes import CountingChat, DownChat, Recording
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai_server import openai_server
from pydantic import BaseModel

from dsplus_chains import Prediction, ShuntChatModel, decisions

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the large model alone

LABELS = ["refund", "delivery"]
SURE, UNSURE = "I want my money", "hm, where is it?"
REPLY = {"refund": "You get it back.", "delivery": "It is on its way."}
LOOP = asyncio.Runner()
"""One loop for all, since clients keep the connections of a loop that is over."""


def awaited(work: Any) -> Any:
    return LOOP.run(work, context=copy_context())


def small(text: str) -> Prediction:
    return Prediction(label="refund", confidence=0.97 if "money" in text else 0.5)


@pytest.fixture(scope="module")
def server():
    with openai_server(lambda _: "Where did you buy it?", calls=lambda _: True) as running:
        yield running


@pytest.fixture(scope="module")
def large(server):
    return ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0, stream_usage=True)


def around(model: Any, **settings: Any) -> ShuntChatModel:
    given = {"scorer": small, "threshold": 0.9, "labels": LABELS, "reply": REPLY, **settings}
    return ShuntChatModel(large=model, **given)


def fake(said: str = "where?") -> CountingChat:
    return CountingChat(function=lambda _: said)


def bodies(server: Any) -> list[Any]:
    return [json.loads(body) for body in server.taken()]


class Heard(BaseCallbackHandler):
    """Every run, with its kind and its parent's."""

    def __init__(self):
        self.kinds, self.parents, self.tags, self.said = {}, {}, {}, []

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, tags=None, **kwargs):
        self.kinds[run_id], self.parents[run_id], self.tags[run_id] = "chain", parent_run_id, tags

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, tags=None, **kwargs):
        self.kinds[run_id], self.parents[run_id], self.tags[run_id] = "chat", parent_run_id, tags

    def on_llm_end(self, response, **kwargs):
        self.said.append(response.generations[0][0].text)


# --- who answers ------------------------------------------------------------------------------------------------------


def test_it_is_a_chat_model_that_answers_by_whoever_is_able(large):
    model = around(large)
    assert isinstance(model, BaseChatModel)
    with decisions() as seen:
        first, second = model.batch([SURE, [SystemMessage("s"), HumanMessage(UNSURE)]])
    assert (first.text, second.text) == (REPLY["refund"], "Where did you buy it?")
    assert [decision["source"] for decision in seen] == ["small", "large"]
    assert (type(first), first.usage_metadata["total_tokens"]) == (AIMessage, 0)
    prompt = ChatPromptTemplate([("system", "s"), ("human", "{ticket}")])
    assert (prompt | model | StrOutputParser()).invoke({"ticket": SURE}) == REPLY["refund"]


REPLIES = {
    "the label": (None, "refund"),
    "a dict": (REPLY, REPLY["refund"]),
    "a function": (lambda label: f"{label}!", "refund!"),
    "messages": ({label: AIMessage(f"{label}?") for label in LABELS}, "refund?"),
}


@pytest.mark.parametrize(("reply", "said"), REPLIES.values(), ids=REPLIES)
def test_a_label_becomes_a_message(reply, said):
    model = around(fake(), reply=reply)
    one, other = model.invoke(SURE), model.invoke(SURE)
    assert one.text == other.text == said
    assert one.id != other.id
    (chunk,) = model.stream(SURE)
    assert (type(chunk), chunk.text, chunk.chunk_position) == (AIMessageChunk, said, "last")


def test_one_answer_does_not_change_the_next():
    model = around(fake())
    model.invoke(SURE).response_metadata["seen"] = True
    assert "seen" not in model.invoke(SURE).response_metadata


def test_a_later_turn_can_be_left_to_the_large_model():
    turns = [HumanMessage("hi"), AIMessage("yes?"), HumanMessage(SURE)]
    assert around(fake()).invoke(turns).text == REPLY["refund"]
    assert around(fake(), when="single_turn").invoke(turns).text == "where?"


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1", "type": "tool_call"}])
CONVERSATIONS = {
    "an unsure turn": [SystemMessage("s"), HumanMessage("hi"), AIMessage("yes?"), HumanMessage(UNSURE)],
    "an image": [HumanMessage([{"type": "text", "text": SURE}, IMAGE])],
    "an image before": [HumanMessage([IMAGE]), AIMessage("a cat"), HumanMessage(SURE)],
    "a tool's result": [HumanMessage(SURE), CALL, ToolMessage("2", tool_call_id="1")],
    "only a system message": [SystemMessage("s")],
    "pairs": [("system", "s"), ("human", UNSURE)],
    "dicts": [{"role": "user", "content": UNSURE}],
}


@tool
def add(a: int) -> int:
    """Add one."""
    return a + 1


class Ticket(BaseModel):
    """A ticket."""

    kind: str


ASKED = {
    **{name: lambda model, given=given: model.invoke(given) for name, given in CONVERSATIONS.items()},
    "a stream": lambda model: list(model.stream(CONVERSATIONS["an unsure turn"])),
    "a batch": lambda model: model.batch(list(CONVERSATIONS.values())),
    "generate": lambda model: model.generate([CONVERSATIONS["an unsure turn"]]),
    "tools": lambda model: model.bind_tools([add]).invoke(SURE),
    "a chosen tool": lambda model: model.bind_tools([add], tool_choice="add", parallel_tool_calls=False).invoke(SURE),
    "tools by hand": lambda model: model.bind(tools=[{"type": "function", "function": {"name": "f"}}]).batch([SURE]),
    "an agent's turn": lambda model: model.bind_tools([add]).invoke(CONVERSATIONS["a tool's result"]),
    "structured output": lambda model: model.with_structured_output(Ticket).invoke(SURE),
    "a format": lambda model: model.invoke(f"{SURE} 'json'", response_format={"type": "json_object"}),
    "another model": lambda model: model.invoke(SURE, model="m2"),
    "log-probabilities": lambda model: model.invoke(SURE, logprobs=True),
    "stop": lambda model: model.invoke(UNSURE, stop=["!"]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_the_large_model_answers_is_asked_as_without_a_shunt(ask, server, large):
    server.taken()
    ask(large)
    alone = server.taken()
    assert alone
    ask(around(large))
    assert server.taken() == alone


def test_the_small_model_is_not_even_asked_about_what_it_must_not_answer(large):
    scorer = Recording(small)
    model = around(large, scorer=scorer)
    with decisions() as seen:
        model.invoke(CONVERSATIONS["an image before"])
        model.bind(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]).invoke(SURE)
    assert scorer.sizes == []
    assert [(decision["source"], decision["label"]) for decision in seen] == [("large", None)] * 2
    assert around(large.bind(tools=[]), scorer=scorer).invoke(SURE).text == REPLY["refund"]
    armed = large.bind_tools([add])
    for inner in (armed, armed.with_retry(), armed.with_fallbacks([large])):
        assert around(inner, scorer=scorer).invoke(SURE).tool_calls


def test_arguments_that_only_tune_the_answer_leave_it_to_the_small_model():
    assert around(fake()).invoke(SURE, stop=["!"], temperature=0, tools=[], tool_choice=None).text == REPLY["refund"]


# --- what is counted and heard ----------------------------------------------------------------------------------------

WAYS = {
    "invoke": lambda model, texts: [model.invoke(text) for text in texts],
    "batch": lambda model, texts: model.batch(texts),
    "stream": lambda model, texts: [list(model.stream(text)) for text in texts],
    "ainvoke": lambda model, texts: [awaited(model.ainvoke(text)) for text in texts],
    "abatch": lambda model, texts: awaited(model.abatch(texts)),
    "generate": lambda model, texts: model.generate([[HumanMessage(text)] for text in texts]),
    "agenerate": lambda model, texts: awaited(model.agenerate([[HumanMessage(text)] for text in texts])),
    "_generate": lambda model, texts: [model._generate([HumanMessage(text)]) for text in texts],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tokens_are_counted_once_and_both_arms_are_heard(way, large):
    heard = Heard()
    with get_usage_metadata_callback() as counted:
        way(around(large, callbacks=[heard]), [SURE, UNSURE])
    assert counted.usage_metadata["m"]["total_tokens"] == 11
    assert counted.usage_metadata["dsplus_chains"]["total_tokens"] == 0
    chats = [run for run, kind in heard.kinds.items() if kind == "chat"]
    assert sorted(heard.said) == sorted([REPLY["refund"], "Where did you buy it?"])
    assert len(chats) == 2
    assert all(heard.kinds[heard.parents[run]] == "chain" for run in chats)
    assert sorted(tag for run in chats for tag in heard.tags[run]) == ["dsplus:large", "dsplus:small"]
    roots = [run for run, parent in heard.parents.items() if parent is None]
    assert [heard.kinds[run] for run in roots] == ["chain"] * 2


@pytest.mark.filterwarnings("ignore:.*in beta")
def test_a_stream_of_events_is_the_one_of_the_arm(large):
    tools = [{"type": "function", "function": ASKED_FOR}]

    async def ask(model: Any, text: str) -> Any:
        return await (await model.astream_events(text, version="v3")).output

    def told(model: Any, *texts: str) -> Any:
        with get_usage_metadata_callback() as counted, decisions() as seen:
            said = [model.stream_events(text, version="v3").output.text for text in texts]
            said += [awaited(ask(model, text)).text for text in texts]
            called = model.stream_events(SURE, version="v3", tools=tools).output.tool_calls
        return said, called, counted.usage_metadata["m"], [decision["source"] for decision in seen]

    alone = told(large, UNSURE)
    said, called, usage, sources = told(around(large), SURE, UNSURE)
    assert said == [REPLY["refund"], "Where did you buy it?"] * 2
    assert (called, usage) == alone[1:3]
    assert sources == ["small", "large"] * 2 + ["large"]


ASKED_FOR = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


async def test_events_v2_stream_the_inner_models():
    model = around(FakeListChatModel(responses=["where?"]))
    events = [event async for event in model.astream_events(UNSURE, version="v2")]
    chunks = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(chunks) == "where?"
    assert events[0]["event"] == "on_chain_start"
    assert "dsplus_decision" in {event["name"] for event in events}


@pytest.mark.parametrize("text", [SURE, UNSURE])
@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_chunks_are_not_doubled_in_a_graph(text, call, large):
    graphs = pytest.importorskip("langgraph.graph")

    def streamed(model: Any) -> list[Any]:
        def node(state: Any) -> Any:
            if call == "invoke":
                return {"messages": [model.invoke(state["messages"])]}
            total: Any = None
            for chunk in model.stream(state["messages"]):
                total = chunk if total is None else total + chunk
            return {"messages": [total]}

        graph = graphs.StateGraph(graphs.MessagesState).add_node("node", node).add_edge("__start__", "node").compile()
        return [message for message, _ in graph.stream({"messages": [text]}, stream_mode="messages")]

    alone = [message.text for message in streamed(large)]
    pieces = streamed(around(large))
    assert "".join(piece.text for piece in pieces) == (REPLY["refund"] if text is SURE else "".join(alone))
    assert len(pieces) == (1 if text is SURE else len(alone))
    assert len({piece.id for piece in pieces}) == 1


def test_it_stands_in_an_agent(large, server):
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(around(large))
    assert agent.invoke({"messages": [SURE]})["messages"][-1].text == REPLY["refund"]
    server.taken()
    armed = agents.create_agent(around(large), tools=[add])
    next(armed.stream({"messages": [SURE]}))
    (body,) = bodies(server)
    assert [held["function"]["name"] for held in body["tools"]] == ["add"]


# --- batches, streams, failures ---------------------------------------------------------------------------------------


def test_a_batch_is_one_call_of_the_scorer_and_one_batch_of_the_large_model():
    scorer, model = Recording(small), fake()
    shunted = around(model, scorer=scorer)
    assert [message.text for message in shunted.batch([UNSURE, SURE, UNSURE])] == ["where?", REPLY["refund"], "where?"]
    assert (scorer.sizes, model.sizes) == ([3], [2])
    result = shunted.generate([[HumanMessage(UNSURE)], [HumanMessage(UNSURE)]], ["!"])
    assert [generations[0].text for generations in result.generations] == ["where?"] * 2
    assert (scorer.sizes, model.sizes) == ([3, 2], [2, 2])


def test_one_bad_row_fails_alone_as_it_does_without_a_shunt():
    found, said = around(fake()).batch([7, SURE], return_exceptions=True)
    assert isinstance(found, ValueError)
    assert said.text == REPLY["refund"]


def test_the_small_model_stands_in_for_a_large_one_that_is_down():
    model = around(DownChat())
    with decisions() as seen:
        assert model.invoke(UNSURE).text == REPLY["refund"]
        assert [chunk.text for chunk in model.stream(UNSURE)] == [REPLY["refund"]]
    assert [decision["source"] for decision in seen] == ["fallback"] * 2
    with pytest.raises(ConnectionError):
        around(DownChat(), on_large_error="raise").invoke(UNSURE)
    with pytest.raises(ConnectionError):
        model.invoke(CONVERSATIONS["an image"])


def test_shadow_mode_lets_the_large_model_answer():
    with decisions() as seen:
        assert around(fake(), threshold=None, shadow=True).invoke(SURE).text == "where?"
    assert (seen[0]["label"], seen[0]["shadow"]) == ("refund", True)


def test_hints_are_told_in_a_system_message_and_do_not_stop_a_stream(server, large):
    model = around(large, hints="system")
    server.taken()
    turns = CONVERSATIONS["an unsure turn"]
    assert len(list(model.stream(turns))) == len(list(large.stream(turns)))
    hinted, alone = sorted(bodies(server), key=lambda body: -len(body["messages"]))
    assert "refund: 50 %" in hinted["messages"][1]["content"]
    assert [*hinted["messages"][:1], *hinted["messages"][2:]] == alone["messages"]
    model.invoke(CONVERSATIONS["an image"])
    large.invoke(CONVERSATIONS["an image"])
    one, other = bodies(server)
    assert one == other


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_settings_of_chat_models_are_the_large_models(server, large):
    limiter = InMemoryRateLimiter(requests_per_second=1000)
    model = around(large, temperature=0, max_tokens=7, stop=["x"], cache=InMemoryCache(), rate_limiter=limiter)
    server.taken()
    assert model.invoke(UNSURE).text == model.invoke(UNSURE).text == "Where did you buy it?"
    (body,) = bodies(server)  # the second answer was in the cache
    assert (body["temperature"], body["max_completion_tokens"], body["stop"]) == (0, 7, ["x"])
    assert model.bind_tools([add]).bound.temperature == 0
    assert large.temperature is None
    assert (model.large.rate_limiter, model.invoke(SURE).text) == (limiter, REPLY["refund"])
    again = around(large.model_copy(update={"metadata": {"a": 1}}), api_key="other", max_retries=5)
    assert again.large.metadata["a"] == 1
    assert again.large.root_client.max_retries == 5
    assert again.large.root_client.api_key == "other"
    assert (again.large.model_name, again.large.openai_api_base) == (large.model_name, large.openai_api_base)
    assert "other" not in repr(again)


def test_a_global_cache_does_not_mix_up_small_answers():
    set_llm_cache(InMemoryCache())
    try:
        model = around(fake(), scorer=lambda text: Prediction(label=text, confidence=1))
        assert [model.invoke(label).text for label in LABELS] == list(REPLY.values())
        other = around(fake(), scorer=lambda text: Prediction(label=text, confidence=1), reply=None)
        assert [other.invoke(label).text for label in LABELS] == LABELS
    finally:
        set_llm_cache(None)


def test_the_threshold_is_configurable_and_rows_of_one_value_share_a_batch():
    inner = fake()
    model = around(inner.with_fallbacks([fake("else")])).configurable_fields(threshold=ConfigurableField(id="t"))
    configs = [{"configurable": {"t": value}} for value in (0.4, 0.6, 0.6)]
    said = model.batch([UNSURE] * 3, configs)
    assert [message.text for message in said] == [REPLY["refund"], "where?", "where?"]
    assert inner.sizes == [2]


COPIED = {
    "threshold": (0.4, [REPLY["refund"], REPLY["refund"]]),
    "large": (fake("else"), [REPLY["refund"], "else"]),
    "scorer": (lambda text: Prediction(label="delivery", confidence=1), [REPLY["delivery"]] * 2),
    "reply": (None, ["refund", "where?"]),
    "shadow": (True, ["where?", "where?"]),
    "nothing": (None, [REPLY["refund"], "where?"]),
}


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, (_, said) in COPIED.items()], ids=COPIED)
@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_decides_by_its_own_fields(name, said, deep):
    model = around(fake())
    copied = model.model_copy(update={name: COPIED[name][0]} if name in type(model).model_fields else None, deep=deep)
    assert [message.text for message in copied.batch([SURE, UNSURE])] == said
    assert [message.text for message in model.batch([SURE, UNSURE])] == [REPLY["refund"], "where?"]
    assert copied.bind(tools=[add]).invoke(SURE).text == ("else" if name == "large" else "where?")


def test_a_copy_hands_its_settings_to_the_large_model_and_is_checked(large):
    model = around(large, max_tokens=7)
    copied = model.model_copy(update={"temperature": 0})
    assert (copied.large.temperature, copied.large.max_tokens, model.large.temperature) == (0, 7, None)
    other = model.model_copy(update={"large": fake()})
    assert (other.profile, model.profile) == (None, large.profile)
    assert (copied.metadata, copied.model_fields_set) == (model.metadata, model.model_fields_set | {"temperature"})
    with pytest.raises(ValueError, match="threshold"):
        model.model_copy(update={"threshold": 7})


def test_its_own_tags_and_metadata_reach_all_runs():
    heard = Heard()
    around(fake(), tags=["mine"], metadata={"user": "u"}, callbacks=[heard]).invoke(UNSURE)
    assert all("mine" in tags for tags in heard.tags.values())


def test_it_knows_what_the_large_model_knows(large):
    model = around(large)
    assert model._get_ls_params()["ls_model_name"] == "m"
    assert model.profile == large.profile
    counting = FakeTokens(responses=["x"], custom_get_token_ids=lambda text: [1] * len(text.split()))
    for inner in (counting, counting.bind(stop=["x"]), counting.with_fallbacks([fake()])):
        model = around(inner)
        assert (model.get_num_tokens("one two"), model.get_token_ids("one two")) == (2, [1, 1])
        assert model.get_num_tokens_from_messages([HumanMessage("one")]) == 7
        assert model._get_ls_params(model="other")["ls_model_name"] == "other"


class FakeTokens(FakeListChatModel):
    def get_num_tokens_from_messages(self, messages: Any, tools: Any = None) -> int:
        return 7


REFUSED = {
    "no threshold": ({"threshold": None}, "threshold"),
    "a misspelt name": ({"treshold": 0.9}, "treshold"),
    "no Runnable": ({"large": "gpt"}, "large"),
    "two labels of one reply": ({"reply": lambda _: "yes"}, "stands for the label"),
    "a label without a reply": ({"reply": {"refund": "yes"}}, "delivery"),
    "settings of a bound model": ({"large": fake().bind(stop=["x"]), "temperature": 0}, "temperature"),
    "hints in a prompt": ({"hints": "soft"}, "hints"),
}


@pytest.mark.parametrize(("settings", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_at_once(settings, told):
    with pytest.raises(ValueError, match=told):
        around(**{"model": settings.pop("large", fake()), **settings})
