"""A turn that the small model answers is a turn like the app's own: in streams, in histories and in states."""

from __future__ import annotations

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import BaseModel

from dsplus_chains import Bundle, LabelParser, NumberScorer, Prediction, ShuntChatModel, VerifiedScorer, shunt
from dsplus_chains.integrations.app_shunt import AppShunt
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.scoring import ChatModelScorer

LABELS = ["billing", "technical"]
MODEL = FakeListChatModel(responses=["technical"])


class Rated(BaseModel):
    stars: int


def small(text):
    return Prediction(label="billing", confidence=0.97 if "charge" in text else 0.5)


def around(app, **more) -> AppShunt:
    return shunt(app, small, threshold=0.9, labels=LABELS, **more)


CANNED = {label: AIMessage(f"About {label}.", id=f"canned-{label}") for label in LABELS}


def graph_of(node, checkpointer=None):
    graphs = pytest.importorskip("langgraph.graph")
    built = graphs.StateGraph(graphs.MessagesState).add_node("n", node).add_edge(graphs.START, "n")
    return built.compile(checkpointer=checkpointer)


@pytest.mark.parametrize("reply", [CANNED, CANNED.__getitem__], ids=["dict", "function"])
@pytest.mark.parametrize("kind", ["shunt", "chat model", "agent"])
@pytest.mark.parametrize("mode", ["values", "messages"])
def test_a_reply_with_an_id_takes_no_earlier_turns_place(reply, kind, mode):
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    config = {"configurable": {"thread_id": "1"}}
    if kind == "agent":
        agents = pytest.importorskip("langchain.agents")
        middleware = pytest.importorskip("dsplus_chains.integrations.shunt_middleware")
        small_turn = middleware.ShuntMiddleware(small, threshold=0.9, labels=LABELS, reply=reply)
        graph = agents.create_agent(MODEL, middleware=[small_turn], checkpointer=memory.InMemorySaver())
    else:
        chat = (
            around(MODEL, output=reply)
            if kind == "shunt"
            else ShuntChatModel(large=MODEL, scorer=small, threshold=0.9, labels=LABELS, reply=reply)
        )
        graph = graph_of(lambda state: {"messages": [chat.invoke(state["messages"])]}, memory.InMemorySaver())
    for _ in range(2):
        list(graph.stream({"messages": [("human", "a charge")]}, config, stream_mode=mode))
    kept = graph.get_state(config).values["messages"]
    assert [said.text for said in kept] == ["a charge", "About billing."] * 2


def drafts():
    draft = FakeListChatModel(responses=["draft"])

    def own(text):
        draft.invoke(text)
        return small(text)

    write = RunnableLambda(lambda record: record["input"]) | draft | StrOutputParser()
    judge = RunnableLambda(lambda record: "right?") | FakeListChatModel(responses=["no"]) | (lambda said: False)
    asked = ChatModelScorer(
        prompt=ChatPromptTemplate.from_template("{q}"),
        chat_model=FakeListChatModel(responses=["technical", "billing"]),
        parser=LabelParser(labels=LABELS),
        confidence="agreement",
        samples=2,
    )
    return {"own": own, "verified": VerifiedScorer(generators={"small": write}, verifier=judge), "samples": asked}


@pytest.mark.parametrize("name", ["own", "verified", "samples"])
def test_what_a_small_model_drafts_is_not_streamed(name):
    shunted = shunt(MODEL, drafts()[name], threshold=0.9, labels=None if name == "verified" else LABELS)
    graph = graph_of(lambda state: {"messages": [shunted.invoke(state["messages"])]})
    seen: dict = {}
    for said, _ in graph.stream({"messages": [("human", "hello")]}, stream_mode="messages"):
        seen[said.id] = seen.get(said.id, "") + said.text
    assert list(seen.values()) == ["technical"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_small_turn_is_in_the_history():
    sent: list = []

    class Heard(FakeListChatModel):
        def _call(self, messages, *args, **kwargs):
            sent.append([said.text for said in messages])
            return super()._call(messages, *args, **kwargs)

    for key in ("input", None):
        kept: dict = {}
        turns = [("human", "{input}")] if key else []
        inner = ChatPromptTemplate([MessagesPlaceholder("history"), *turns]) | Heard(responses=["technical"])
        app = RunnableWithMessageHistory(
            inner if key else Heard(responses=["technical"]),
            lambda session_id, kept=kept: kept.setdefault(session_id, InMemoryChatMessageHistory()),
            **({"input_messages_key": key, "history_messages_key": "history"} if key else {}),
        )
        shunted = around(app, output=AIMessage)
        ask = (lambda text: {"input": text}) if key else (lambda text: [HumanMessage(text)])
        config = {"configurable": {"session_id": "a"}}
        sent.clear()
        shunted.invoke(ask("a charge"), config)
        list(shunted.stream(ask("one more charge"), config))
        await shunted.ainvoke(ask("and a charge"), config)
        shunted.invoke(ask("when?"), config)
        others = ["a charge", "billing", "one more charge", "billing", "and a charge", "billing"]
        assert sent == [[*others, "when?"]]
        assert [said.text for said in kept["a"].messages] == [*others, "when?", "technical"]
        assert shunted.batch([ask("a charge")] * 2, [{"configurable": {"session_id": one}} for one in "bc"])
        assert [len(kept[one].messages) for one in "bc"] == [2, 2]


def test_a_graph_streams_a_small_turn_in_the_modes_that_are_asked_for():
    graph = graph_of(lambda state: {"messages": [MODEL.invoke(state["messages"])]})
    shunted = around(graph, output=lambda label: {"messages": [AIMessage(label)]}, read="messages.-1.content")
    asked = {"messages": [("human", "a charge")]}
    assert [list(one) for one in shunted.stream(asked)] == [["dsplus_chains"]]
    (state,) = shunted.stream(asked, stream_mode="values")
    assert state["messages"][-1].text == "billing"
    ((said, told),) = shunted.stream(asked, stream_mode="messages")
    assert (said.text, said.chunk_position, told["langgraph_node"]) == ("billing", "last", "dsplus_chains")
    assert [mode for mode, _ in shunted.stream(asked, stream_mode=["updates", "custom", "messages"])] == [
        "updates",
        "messages",
    ]


@pytest.mark.parametrize("mode", ["updates", "values", "messages", ["updates", "messages"]])
@pytest.mark.parametrize("more", [{}, {"subgraphs": True}, {"version": "v2"}], ids=["plain", "subgraphs", "v2"])
@pytest.mark.parametrize("wrap", [lambda graph: graph, lambda graph: graph.with_config(tags=["t"])])
def test_a_small_turn_has_the_form_of_the_graphs_own(mode, more, wrap):
    graph = graph_of(lambda state: {"messages": [MODEL.invoke(state["messages"])]})
    shunted = around(wrap(graph), output=lambda label: {"messages": [AIMessage(label)]}, read="messages.-1.content")

    def form(piece):
        if isinstance(piece, dict):
            return sorted(piece) if "type" in piece else dict
        return [one if isinstance(one, str) else type(one) for one in piece]

    small_turn, own = (
        [form(piece) for piece in shunted.stream({"messages": [("human", text)]}, stream_mode=mode, **more)]
        for text in ("a charge", "hello")
    )
    assert small_turn
    assert all(piece in own for piece in small_turn)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_history_may_be_wrapped():
    kept: dict = {}
    app = RunnableWithMessageHistory(
        MODEL, lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory())
    ).with_config(configurable={"session_id": "a"})
    around(app.with_retry(), output=AIMessage).invoke([HumanMessage("a charge")])
    assert [said.text for said in kept["a"].messages] == ["a charge", "billing"]


@pytest.mark.parametrize("text", ["hello", "a charge"])
async def test_a_stream_of_messages_has_chunks_alone(text):
    shunted = around(ChatPromptTemplate.from_template("{q}") | MODEL)
    pieces = [*shunted.stream({"q": text}), *[piece async for piece in shunted.astream({"q": text})]]
    assert [(piece.tool_call_chunks, piece.chunk_position) for piece in pieces if piece.chunk_position] == [
        ([], "last")
    ] * 2
    (whole,) = around(lambda q: AIMessage("technical"), output=AIMessage).stream("a charge")
    assert type(whole) is AIMessage  # as that app streams it


async def later(label):
    return label


class Later:
    async def __call__(self, label):
        return label


@pytest.mark.parametrize("reply", [later, Later()], ids=["function", "object"])
def test_an_async_reply_is_refused_when_it_is_given(reply):
    with pytest.raises(ValueError, match="async function"):
        around(MODEL | StrOutputParser(), output=reply)
    with pytest.raises(ValueError, match="async function"):
        ShuntChatModel(large=MODEL, scorer=small, threshold=0.9, labels=LABELS, reply=reply)


def test_a_reply_may_be_a_message_in_any_form_but_none_of_a_human():
    for said in (("ai", "It is paid."), {"role": "assistant", "content": "It is paid."}, "It is paid."):
        reply = {"billing": said, "technical": "Restart it."}
        chat = ShuntChatModel(large=MODEL, scorer=small, threshold=0.9, labels=LABELS, reply=reply)
        assert chat.invoke("a charge").text == "It is paid."
    for wrong in (HumanMessage, lambda label: ("Dear", "Sir")):
        with pytest.raises(ValueError, match="expected a text, or a message of the assistant"):
            ShuntChatModel(large=MODEL, scorer=small, threshold=0.9, labels=LABELS, reply=wrong)


@pytest.mark.parametrize("bound", [{"reasoning_effort": "low"}, {"user": "u"}, {"extra_headers": {"x": "y"}}])
def test_what_changes_no_kind_of_answer_leaves_the_small_model_its_turn(bound):
    chat = ShuntChatModel(large=MODEL.bind(**bound), scorer=small, threshold=0.9, labels=LABELS)
    assert chat.invoke("a charge").text == "billing"


def test_a_large_model_that_is_bound_to_more_is_told(caplog):
    chat = ShuntChatModel(large=MODEL.bind(only_here="small turns"), scorer=small, threshold=0.9, labels=LABELS)
    assert chat.invoke("a charge").text == "technical"
    assert "bound to only_here, so it answers all" in caplog.text


def test_a_bundle_is_no_small_model(scorer):
    with pytest.raises(InvalidInputError, match=r"give its \.scorer"):
        shunt(MODEL, Bundle(scorer=scorer), threshold=0.9)


def test_a_hint_is_asked_of_nobody():
    app = ChatPromptTemplate.from_template("{hints} Sort: {ticket}") | MODEL | StrOutputParser()
    shunted = around(app, hints="soft")
    assert shunted.get_input_jsonschema()["required"] == ["ticket"]
    assert shunted.get_input_schema().model_validate({"ticket": "hello"})


def test_a_whole_number_is_rounded_as_the_app_answers(encoder):
    stars = {"awful": 1, "poor": 2.6, "good": 3.6, "great": 5}
    texts = [f"{word} {number}" for number in range(20) for word in stars]
    values = [stars[text.split()[0]] for text in texts]
    numbers = NumberScorer.fit(texts, values, tolerance=1, encoder=encoder)
    said = [round(one["prediction"].value) for one in numbers.batch(texts[:4])]

    def rate(text: str) -> int:
        return 3

    def rated(text: str) -> Rated:
        return Rated(stars=3)

    assert shunt(rate, numbers, threshold=0.0).batch(texts[:4]) == said
    assert [one.stars for one in shunt(rated, numbers, threshold=0.0).batch(texts[:4])] == said
