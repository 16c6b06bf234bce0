"""`ShuntMiddleware` puts a small model before an agent of LangChain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, cast

from langchain_core.messages import AIMessage, SystemMessage
from typing_extensions import override

from dsplus_chains.gating.gate import DECISION_EVENT
from dsplus_chains.integrations.agent_parts import (
    AgentMiddleware,
    AgentState,
    ModelResponse,
    PrivateStateAttr,
    hook_config,
    schema_of,
)
from dsplus_chains.integrations.app_output import label_writer
from dsplus_chains.integrations.app_text import TextPlace, When
from dsplus_chains.integrations.deciding import deciding
from dsplus_chains.integrations.small_message import as_message
from dsplus_chains.prompting.hints import soft_hint
from dsplus_chains.running.recorder import Recorder
from dsplus_chains.schema import Prediction, WiringError, check_choice, check_least

STATE_KEY = "dsplus"
"""The key of an agent's state that holds what was decided in this turn."""


_WAYS = ("auto", "defer")
"""The ways to fill an agent's structured response that are no class, dict or function."""


class ShuntState(AgentState):
    """The state of an agent with a `ShuntMiddleware`."""

    dsplus: NotRequired[Annotated[dict[str, Any] | None, PrivateStateAttr]]
    """The decision of each middleware by its name, in plain JSON. It is neither input nor output of the agent."""


class ShuntMiddleware(AgentMiddleware):
    """A small model before an agent. Where it is sure, it answers, and the agent's model is not called.

    It decides once a turn, before the first call of the model, and in the order of the middleware. Put it behind
    `PIIMiddleware`, and it reads only what that leaves. Put it before a limit of calls, and it answers even when the
    limit is reached. Its own answers are no calls of the model, so no limit counts them. (With ``structured="auto"`` it
    is otherwise.) Where it is not sure, the agent's model is told its view, unless ``hints="none"``. So it is in each
    call of this turn, also after a tool call.

    It leaves the turn to the agent without a view where it fails, or where there is nothing that it may judge. That is
    a state that ends with no human turn, or a conversation with an image or a file.

    The decision is told by the event "dsplus_decision", by `decisions`, and in ``stream_mode="custom"``. Requests of
    an agent with ``hints="none"`` stay the same bytes.

    Args:
        scorer: A `SmallModelScorer`, or any Runnable or function from a text to a `Prediction`.
        threshold: Confidence from which on the small model answers. It may be a dict by label. A label that is not in
            the dict is left to the agent. None leaves all to the agent.
        labels: The labels. By default they are the scorer's own.
        reply: How a label becomes the message: a dict of texts or messages by label, or a function. None: the label is
            the text.
        structured: How a label becomes the agent's `structured_response`: the class of its `response_format`, a dict by
            label, or a function. An agent with a `response_format` needs it. A middleware sees that format only where
            the agent calls its model, and the small model answers before that. So without `structured` its answers lack
            the structure, and an error comes only once the agent calls its model. With "auto" the small model answers
            in place of that call, by the format that is seen there. The model is not called. But a limit of calls
            counts such an answer, and none is given where the limit is reached. With "defer" the agent answers each
            turn, and is only told the small model's view.
        hints: With "soft" the system message ends with the small model's view. With "none" the agent is told nothing.
        text: Where the text is in the state. "auto" takes the last human turn.
        when: Whether the small model may answer every turn of a conversation, or only the first one.
        max_ood_score: See `ConfidenceBranch`.
        top_k: Largest number of labels in a hint.
        experience: What keeps each decision, such as an `ExperienceStore`. A turn that is left to the agent is kept
            without an answer, since only you know which label the agent's words stand for. It teaches nothing until
            you say so. After the turn, call ``store.answered(text, label)``. `decisions` tells which turns these are.
        name: Name of the middleware. It must differ where an agent has two.

    Raises:
        ImportError: LangChain's agents are not installed.
        ValueError: A threshold is outside [0, 1], `hints` is unknown, or a label becomes no message or no structured
            response. All labels that are known are checked here.
        WiringError: The agent has a `response_format`, and `structured` is not given. Or it is "auto", and a label
            does not fill that format. The agent raises it when it calls its model.

    Source: Data Shunt+ (arXiv 2406.15471), routing by the small model's confidence, and its soft prompts.

    Example:
        >>> from langchain.agents import create_agent
        >>> from langchain_core.language_models import FakeListChatModel
        >>> def small(text):
        ...     return Prediction(label="billing", confidence=0.97 if "refund" in text else 0.5)
        >>> reply = {"billing": "We look at your bill."}
        >>> shunt = ShuntMiddleware(small, threshold=0.9, reply=reply, labels=["billing"])
        >>> agent = create_agent(FakeListChatModel(responses=["Let me see."]), middleware=[shunt])
        >>> said = [agent.invoke({"messages": [("human", text)]}) for text in ("a refund!", "where is it?")]
        >>> [state["messages"][-1].text for state in said]
        ['We look at your bill.', 'Let me see.']
    """

    state_schema = ShuntState

    def __init__(
        self,
        scorer: Any,
        *,
        threshold: float | Mapping[Any, float | None] | None,
        labels: Sequence[Any] | None = None,
        reply: Any = None,
        structured: Any = None,
        hints: Literal["soft", "none"] = "soft",
        text: TextPlace = "auto",
        when: When = "each_turn",
        max_ood_score: float | None = None,
        top_k: int = 5,
        experience: Recorder | None = None,
        name: str = "ShuntMiddleware",
    ) -> None:
        super().__init__()
        check_choice("hints", hints, ("soft", "none"))
        check_least("top_k", top_k, 1)
        way = structured if isinstance(structured, str) else None
        only_hints = way == "defer"
        self._shunt, names = deciding(
            scorer,
            threshold=None if only_hints else threshold,
            text=text,
            when=when,
            labels=labels,
            max_ood_score=max_ood_score,
            experience=experience,
        )
        self._name = name
        self._hints = hints
        self._labels = names
        self._top_k = top_k
        self._fills_structured = structured is not None
        self._message = label_writer(AIMessage if reply is None else reply, names)
        for label in names:
            self._said(label)
        self._reads_format = way == "auto"
        self._structure = None if structured is None or way in _WAYS else label_writer(structured, names)
        self._seen: tuple[Any, Callable[[Any], Any] | None] = (None, None)

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        return {STATE_KEY: {}}  # what was decided in the turn before holds no more

    @override
    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        return self.before_agent(state, runtime)

    @hook_config(can_jump_to=["end"])
    @override
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        if self._decided(state) is not None:
            return None
        return self._update(state, self._shunt.invoke(state), runtime.stream_writer)

    @hook_config(can_jump_to=["end"])
    @override
    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        if self._decided(state) is not None:
            return None
        return self._update(state, await self._shunt.ainvoke(state), runtime.stream_writer)

    @override
    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        said = self._answer(request)
        return handler(self._hinted(request)) if said is None else said

    @override
    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        said = self._answer(request)
        return await handler(self._hinted(request)) if said is None else said

    def _decided(self, state: Any) -> dict[str, Any] | None:
        """What this middleware has decided in this turn. None if it has not yet."""
        decided = (state.get(STATE_KEY) or {}).get(self.name)
        return cast("dict[str, Any] | None", decided)

    def _update(self, state: Any, record: Any, stream: Callable[[Any], None]) -> dict[str, Any]:
        """The update of the state: an answer and the way to the end, or a hint."""
        stream({DECISION_EVENT: self._shunt.decision(record)})
        prediction: Prediction = record["prediction"]
        told = {
            "source": record.get("source", "large"),
            "label": prediction.label,
            "confidence": prediction.confidence,
            "hint": "",
        }
        update: dict[str, Any] = {STATE_KEY: {**(state.get(STATE_KEY) or {}), self.name: told}}
        if told["source"] == "large":
            told["hint"] = self._hint(prediction)
            return update
        if self._reads_format:
            return update
        if self._structure is not None:
            update["structured_response"] = self._structure(record["answer"])
        return {**update, "messages": [self._said(record["answer"])], "jump_to": "end"}

    def _said(self, label: Any) -> AIMessage:
        """The message of a label. It is a new one each time, because a state gives each message an id."""
        return as_message(self._message(label))

    def _hint(self, prediction: Prediction) -> str:
        return "" if self._hints == "none" else soft_hint(prediction, self._labels, top_k=self._top_k)

    def _answer(self, request: Any) -> Any:
        """The small model's answer in place of a model call, in the format that is seen there. None if it has none."""
        if not self._reads_format:
            return None
        structure = self._by_format(request.response_format)
        decided = self._decided(request.state)
        if decided is None or decided["source"] == "large":
            return None
        label = decided["label"]
        return ModelResponse(
            result=[self._said(label)], structured_response=None if structure is None else structure(label)
        )

    def _by_format(self, wanted: Any) -> Callable[[Any], Any] | None:
        """How a label becomes a response of a format. It is found once for each. None without a format."""
        known, structure = self._seen
        if known is not wanted:
            try:
                structure = None if wanted is None else label_writer(schema_of(wanted), self._labels)
            except ValueError as error:
                msg = f"Got a response_format that no label fills; give structured= as a function, or 'defer': {error}"
                raise WiringError(msg) from error
            self._seen = wanted, structure
        return structure

    def _hinted(self, request: Any) -> Any:
        """The request of a model call, with the hint at the end of its system message."""
        if request.response_format is not None and not self._fills_structured:
            msg = (
                "Got an agent with a response_format, which an answer of the small model would lack. Give structured= "
                "(its class, a dict by label, or a function), structured='auto' or structured='defer'"
            )
            raise WiringError(msg)
        hint = (self._decided(request.state) or {}).get("hint")
        return request.override(system_message=_with_hint(request.system_message, hint)) if hint else request


def _with_hint(system: SystemMessage | None, hint: str) -> SystemMessage:
    """A system message that ends with the hint. What stands before it stays, so that a provider's cache holds."""
    if system is None:
        return SystemMessage(hint)
    if isinstance(system.content, str):
        return system.model_copy(update={"content": f"{system.content}\n\n{hint}"})
    return system.model_copy(update={"content": [*system.content, {"type": "text", "text": hint}]})
