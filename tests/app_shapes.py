"""The shapes that LangChain apps have, each with the one line that puts a shunt around it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from operator import itemgetter
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import BaseModel, Field

LABELS = ["billing", "shipping", "other"]
SURE, UNSURE = "I want a refund", "hm, where is it?"


class Ticket(BaseModel):
    """A support ticket."""

    category: Literal["billing", "shipping", "other"] = Field(description="What it is about")


class TicketDict(TypedDict):
    """A support ticket."""

    category: Literal["billing", "shipping", "other"]


class Category(Enum):
    BILLING = "billing"
    SHIPPING = "shipping"
    OTHER = "other"


class Triage(BaseModel):
    """A support ticket."""

    category: str
    note: str = "none"


class Kind(BaseModel):
    """A support ticket."""

    category: Category


SCHEMA = {
    "title": "Ticket",
    "description": "A support ticket.",
    "type": "object",
    "properties": {"category": {"type": "string", "enum": LABELS}},
    "required": ["category"],
}


@dataclass(frozen=True)
class Shape:
    """One shape.

    Args:
        name: What it is called in the table of the README.
        app: From a chat model to the app.
        give: From a text to what the app is called with.
        around: The keywords of `shunt`, beside the threshold.
        config: A config for each call, for apps that need one.
        shown: The keywords as they are shown to users.
        made_by_hand: Whether the small answer is made by the user, and may differ in what the app does not promise.
    """

    name: str
    app: Callable[[Any], Any]
    give: Callable[[str], Any] = lambda text: text
    around: dict[str, Any] = field(default_factory=dict)
    config: Callable[[], dict[str, Any]] | None = None
    shown: str = ""
    made_by_hand: bool = False


def ticket(text: str) -> dict[str, Any]:
    return {"ticket": text}


PROMPT = ChatPromptTemplate([("system", "Which category: billing, shipping or other?"), ("human", "{ticket}")])
CHAT = ChatPromptTemplate([("system", "Which category?"), MessagesPlaceholder("history"), ("human", "{input}")])
RAG = ChatPromptTemplate.from_template("Context: {context}\nQuestion: {question}")


def retrieve(_question: Any) -> str:
    return "\n".join(document.page_content for document in [Document("refunds take a week"), Document("we ship daily")])


def annotated(model: Any) -> Any:
    def app(given: dict[str, str]) -> str:
        return str(model.invoke(f"Which category? {given['ticket']}").text)

    return app


def as_enum(model: Any) -> Any:
    def read(message: AIMessage) -> Category:
        return Category(message.text)

    return PROMPT | model | RunnableLambda(read)


def graph(model: Any) -> Any:
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages

    class State(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    builder = StateGraph(State)
    builder.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile()


def of_document(document: Document) -> dict[str, Any]:
    return ticket(document.page_content)


def reply(label: str) -> str:
    return {"billing": "We look at your bill."}.get(label, f"Your question goes to {label}.")


def with_history(model: Any) -> Any:
    kept: dict[str, InMemoryChatMessageHistory] = {}
    chain = CHAT | model
    return RunnableWithMessageHistory(
        chain,
        lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="input",
        history_messages_key="history",
    )


_SESSIONS = iter(range(1_000_000))


SHAPES = [
    Shape("prompt, model, parser", lambda model: PROMPT | model | StrOutputParser(), ticket),
    Shape("a string into a dict", lambda model: {"ticket": RunnablePassthrough()} | PROMPT | model | StrOutputParser()),
    Shape("prompt and model", lambda model: PROMPT | model, ticket),
    Shape("a string prompt", lambda model: PromptTemplate.from_template("Category? {ticket}") | model, ticket),
    Shape("structured output, pydantic", lambda model: PROMPT | model.with_structured_output(Ticket), ticket),
    Shape("structured output, enum field", lambda model: PROMPT | model.with_structured_output(Kind), ticket),
    Shape("structured output, TypedDict", lambda model: PROMPT | model.with_structured_output(TicketDict), ticket),
    Shape("structured output, JSON schema", lambda model: PROMPT | model.with_structured_output(SCHEMA), ticket),
    Shape(
        "structured output, function calling",
        lambda model: PROMPT | model.with_structured_output(Ticket, method="function_calling"),
        ticket,
    ),
    Shape(
        "a parser of tool calls",
        lambda model: (
            PROMPT
            | model.bind_tools([Ticket], tool_choice="any")
            | PydanticToolsParser(tools=[Ticket], first_tool_only=True)
        ),
        ticket,
    ),
    Shape(
        "a parser of one tool's arguments",
        lambda model: (
            PROMPT
            | model.bind_tools([Ticket], tool_choice="Ticket")
            | JsonOutputKeyToolsParser(key_name="Ticket", first_tool_only=True)
        ),
        ticket,
    ),
    Shape("a document", lambda model: RunnableLambda(of_document) | PROMPT | model | StrOutputParser(), Document),
    Shape(
        "structured output, more fields",
        lambda model: PROMPT | model.with_structured_output(Triage),
        ticket,
        {"output": Triage, "read": "category"},
        shown='output=Ticket, read="category"',
    ),
    Shape(
        "structured output with the raw message",
        lambda model: PROMPT | model.with_structured_output(Ticket, include_raw=True),
        ticket,
        {
            "output": lambda label: {"raw": AIMessage(""), "parsed": Ticket(category=label), "parsing_error": None},
            "read": "parsed.category",
        },
        shown='output=as_raw, read="parsed.category"',
    ),
    Shape(
        "a pydantic parser",
        lambda model: PROMPT | model | json_text | PydanticOutputParser(pydantic_object=Ticket),
        ticket,
    ),
    Shape(
        "a JSON parser",
        lambda model: PROMPT | model | json_text | JsonOutputParser(),
        ticket,
        {"output": lambda label: {"category": label}, "read": "category"},
        shown='output=as_json, read="category"',
    ),
    Shape("an enum", as_enum, ticket),
    Shape("a chat model, a string", lambda model: model),
    Shape("a chat model, messages", lambda model: model, lambda text: [SystemMessage("Category?"), HumanMessage(text)]),
    Shape("a chat model, pairs", lambda model: model, lambda text: [("system", "Category?"), ("human", text)]),
    Shape("a chat model, dicts", lambda model: model, lambda text: [{"role": "user", "content": text}]),
    Shape(
        "a chat model, content blocks",
        lambda model: model,
        lambda text: [HumanMessage([{"type": "text", "text": text}])],
    ),
    Shape(
        "a chat model, a later turn",
        lambda model: model,
        lambda text: [("human", "hi"), ("ai", "yes?"), ("human", text)],
    ),
    Shape("a prompt value", lambda model: model, lambda text: ChatPromptValue(messages=[HumanMessage(text)])),
    Shape(
        "retrieval",
        lambda model: (
            {"context": RunnableLambda(retrieve), "question": RunnablePassthrough()} | RAG | model | StrOutputParser()
        ),
    ),
    Shape(
        "retrieval by assign",
        lambda model: RunnablePassthrough.assign(context=RunnableLambda(retrieve)) | RAG | model | StrOutputParser(),
        lambda text: {"question": text},
    ),
    Shape(
        "history in the input",
        lambda model: CHAT | model | StrOutputParser(),
        lambda text: {"input": text, "history": [HumanMessage("hi"), AIMessage("hello")]},
    ),
    Shape(
        "a message history",
        with_history,
        lambda text: {"input": text},
        {"output": AIMessage},
        lambda: {"configurable": {"session_id": str(next(_SESSIONS))}},
        shown="output=AIMessage",
    ),
    Shape(
        "a key picked first",
        lambda model: itemgetter("ticket") | RunnableLambda(ticket) | PROMPT | model | StrOutputParser(),
        lambda text: {"ticket": text, "customer": "Jo", "answer": "old", "source": "mail", "large": 7},
        {"text": "ticket"},
        shown='text="ticket"',
    ),
    Shape(
        "two texts",
        lambda model: RAG | model | StrOutputParser(),
        lambda text: {"question": text, "context": "we ship daily"},
        {"text": "{question}\n{context}"},
        shown='text="{question}\\n{context}"',
    ),
    Shape(
        "a pair of texts, as in grading",
        lambda model: RAG | model | StrOutputParser(),
        lambda text: {"question": text, "context": "we ship daily"},
        {"text": ("question", "context")},
        shown='text=("question", "context")',
    ),
    Shape(
        "a path",
        lambda model: RunnableLambda(itemgetter("request")) | PROMPT | model | StrOutputParser(),
        lambda text: {"request": {"ticket": text}},
        {"text": "request.ticket"},
        shown='text="request.ticket"',
    ),
    Shape("a function", annotated, ticket),
    Shape("with retry", lambda model: (PROMPT | model | StrOutputParser()).with_retry(stop_after_attempt=2), ticket),
    Shape(
        "with fallbacks",
        lambda model: (PROMPT | model | StrOutputParser()).with_fallbacks([RunnableLambda(lambda _: "other")]),
        ticket,
    ),
    Shape("bound arguments", lambda model: PROMPT | model.bind(stop=["\n"]) | StrOutputParser(), ticket),
    Shape(
        "a configurable model",
        lambda model: PROMPT | model.configurable_fields(temperature=ConfigurableField(id="t")) | StrOutputParser(),
        ticket,
        config=lambda: {"configurable": {"t": 0.5}},
    ),
    Shape(
        "a branch inside",
        lambda model: RunnableBranch(
            (lambda given: len(given["ticket"]) > 1_000, RunnableLambda(lambda _: "other")),
            PROMPT | model | StrOutputParser(),
        ),
        ticket,
    ),
    Shape(
        "several outputs",
        lambda model: RunnableParallel(
            category=PROMPT | model | StrOutputParser(), ticket=RunnableLambda(itemgetter("ticket"))
        ),
        ticket,
        {"output": lambda label: {"category": label, "ticket": None}, "read": "category"},
        made_by_hand=True,
        shown='output=as_json, read="category"',
    ),
    Shape(
        "a reply for each label",
        lambda model: PROMPT | model | StrOutputParser() | RunnableLambda(reply),
        ticket,
        {"output": {label: reply(label) for label in LABELS}},
        shown='output={"billing": "We look at your bill.", …}',
    ),
]


def to_json(message: AIMessage) -> AIMessage:
    return AIMessage('{"category": "' + message.text + '"}')


json_text = RunnableLambda(to_json)

if find_spec("langgraph.graph"):  # the oldest LangChain that is promised to work has no LangGraph beside it
    SHAPES.append(
        Shape(
            "a LangGraph graph",
            graph,
            lambda text: {"messages": [HumanMessage(text, id="1")]},
            {"output": lambda label: {"messages": [AIMessage(label)]}, "read": "messages.-1.content"},
            made_by_hand=True,
            shown='output=as_state, read="messages.-1.content"',
        )
    )


def table() -> str:
    """The table of the README: which app needs which line. A line comes once, with all apps that it is enough for."""
    lines: dict[str, list[str]] = {}
    for shape in SHAPES:
        more = f", {shape.shown}" if shape.shown else ""
        lines.setdefault(f"`shunt(app, scorer, threshold=0.9{more})`", []).append(shape.name)
    return "\n".join(f"| {'; '.join(names)} | {line} |" for line, names in lines.items())
