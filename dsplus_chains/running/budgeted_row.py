"""`BudgetedRow`: one row of a batch under a budget. It hears of each model call below, before it is made."""

from __future__ import annotations

from time import monotonic
from typing import Any, Literal
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import LLMResult
from typing_extensions import override

from dsplus_chains.running.budget import Budget
from dsplus_chains.running.call_estimate import (
    answer_limit,
    estimated_tokens,
    is_from_cache,
    said_tokens,
    told_usage,
)
from dsplus_chains.running.ledger import Amount, Call
from dsplus_chains.running.usage import UsageCollector
from dsplus_chains.schema import DSPlusError, causes

_LOOK_AGAIN = 0.1
"""Seconds after which a waiting row looks whether another process has given back."""

_UNHEARD = ("timeout", "readerror", "remoteprotocolerror")
"""Parts of the names of errors after which a request was sent, and no answer was heard."""

_UNSENT = ("connecttimeout", "connectiontimeout", "pooltimeout", "connecterror", "connectorerror")
"""Parts of the names of errors after which no request was sent, though some of them are time-outs."""


class BudgetedRow(BaseCallbackHandler):
    """One row under a budget, as a callback handler.

    Each call of a model reserves when it starts, and settles when it ends. If its prompt does not fit any more, the
    start raises, and no request is sent. LangChain starts retries, second questions and fallbacks as calls of their
    own. A request that the provider's client repeats by itself is one call.

    It is not run inline. So under async it takes the ledger's lock in a thread, and an error of its own leaves no
    coroutine of another handler unawaited.

    Args:
        budget: The budget, which rows share.
        collector: What counts the row's calls. It is told of a refused one.
    """

    raise_error = True
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, budget: Budget, collector: UsageCollector) -> None:
        self.budget = budget
        self._collector = collector
        self._row: str | None = None
        self._gone = False
        self._period = budget.period
        self._open: dict[UUID, Call] = {}
        self._reserved = Amount(0, 0.0)
        self._looked: tuple[int, float] | None = None
        self.refused: DSPlusError | None = None
        """Why a call was not let through. What an arm makes of it may hide it."""
        self.asked = False
        """Whether any call was let through."""
        self.tokens = 0
        """Tokens of all settled calls."""
        self.usd: float | None = 0.0
        """Price of all settled calls. None if it is not known."""

    @property
    def should_look(self) -> bool:
        """Whether anything may have changed since the row was told to wait."""
        if self._looked is None:
            return True
        changes, at = self._looked
        return changes != self.budget.ledger.changes or monotonic() >= at + _LOOK_AGAIN

    def begin(self) -> bool:
        """Begin the row. False: it has to wait until others have given back.

        Raises:
            BudgetError: Nothing is left.
        """
        if not self.should_look:
            return False
        self._looked = (self.budget.ledger.changes, monotonic())
        row, self._period = uuid4().hex, self.budget.period
        with self.budget.writing(needed=True):
            told = self.budget.ledger.begin_row(row, self._period)
        if told == "spent":
            raise self.budget.refusal()
        if told == "go":
            self._row, self._looked, self.refused = row, None, None
            if self._gone:
                self.end()
        return told == "go"

    def end(self) -> None:
        """End the row, and give back what it has not used."""
        row, self._row = self._row, None
        if row is not None:
            with self.budget.writing(needed=False):
                self.budget.ledger.leave(row, [str(run_id) for run_id in list(self._open)], self._reserved)
            self._reserved = Amount(0, 0.0)

    def abandon(self) -> None:
        """End the row for good. One that is only now beginning, in another thread, ends as soon as it has begun."""
        self._gone = True
        self.end()

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **told: Any
    ) -> None:
        params, metadata = told.get("invocation_params") or {}, told.get("metadata") or {}
        model = str(params.get("model") or params.get("model_name") or metadata.get("ls_model_name") or "unknown")
        base = estimated_tokens(messages[0], params)
        try:
            with self.budget.writing(needed=True):
                call = self.budget.expected(model, base, answer_limit(params, metadata))
                room = self.budget.ledger.reserve(str(run_id), self._row or "", self._period, call)
            self._reserved += Amount(call.input + call.output, call.usd or 0.0)
            if room != "go":
                raise self.budget.refusal(needed=call, busy=room == "busy")
        except DSPlusError as error:
            self.refused = error
            self._collector.on_llm_error(error, run_id=run_id)  # LangChain ends no call whose start was refused
            raise
        self.asked = True
        self._open[run_id] = call

    @override
    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **told: Any) -> None:
        self.on_chat_model_start(serialized, [[HumanMessage(prompt) for prompt in prompts]], run_id=run_id, **told)

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        call = self._open.pop(run_id, None)
        if call is None:
            return
        if is_from_cache(response):
            self._settle(run_id, Call(call.model, 0, 0, 0.0), "cached")
            return
        usage = told_usage(response)
        if usage is not None:
            self._settle(run_id, self.budget.paid(call.model, usage), "told")
        else:
            self._settle(run_id, self._guess(call, said_tokens(response)), "guessed")

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        call = self._open.pop(run_id, None)
        if call is None:
            return
        said = said_tokens(told.get("response"))
        if said:
            self._settle(run_id, self._guess(call, said), "guessed")
        elif _may_be_answered(error):
            longest = min(call.output, self.budget.ledger.seen(call.model).output)
            self._settle(run_id, self._guess(call, longest), "guessed")
        else:
            self._settle(run_id, None, "told")

    def _guess(self, call: Call, said: int) -> Call:
        return self.budget.paid(call.model, {"input_tokens": call.input, "output_tokens": said})

    def _settle(self, run_id: UUID, cost: Call | None, kind: Literal["told", "guessed", "cached"]) -> None:
        if cost is not None:
            self.tokens += cost.input + cost.output
            self.usd = None if self.usd is None or cost.usd is None else self.usd + cost.usd
        with self.budget.writing(needed=False):
            self.budget.ledger.settle(str(run_id), cost, kind)


def _may_be_answered(error: BaseException) -> bool:
    """Whether a provider may have answered a call that failed, while nobody was there to hear it.

    Clients raise an error of their own from that of the connection. One that was never made has sent nothing. One that
    belongs to another event loop sends the request, and cannot read the answer.
    """
    found = list(causes(error))
    names = [kind.__name__.lower() for cause in found for kind in type(cause).__mro__]
    if any(signal in name for name in names for signal in _UNSENT):
        return False
    lost = any(signal in name for name in names for signal in _UNHEARD)
    elsewhere = any(isinstance(cause, RuntimeError) and "loop" in str(cause) for cause in found)
    return lost or elsewhere or not isinstance(error, Exception)
