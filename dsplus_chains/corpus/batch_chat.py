"""`BatchChatOpenAI` is OpenAI's chat model at half the price, through the Batch API."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from pathlib import Path
from typing import Any, Literal, Self

from langchain_core.caches import BaseCache
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langsmith import tracing_context
from openai.types.chat import ChatCompletion
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dsplus_chains.corpus.batch_jobs import BatchJobs
from dsplus_chains.corpus.job_lines import MOST_BYTES, MOST_REQUESTS, BatchJobError
from dsplus_chains.corpus.job_state import JobState
from dsplus_chains.running.drivers import adrive, drive
from dsplus_chains.running.flow import Flow, Work
from dsplus_chains.schema import WiringError, hash_of

Body = dict[str, Any]

_NO_BODY = ("stream", "stream_options", "extra_body", "extra_headers", "extra_query", "timeout")
"""Arguments of the client that are no part of a request's body, or that no batch job can have."""

_noted: ContextVar[list[Body] | None] = ContextVar("noted", default=None)
"""Where the requests of a batch go that are only foreseen."""
_replies: ContextVar[dict[str, deque[Any]] | None] = ContextVar("replies", default=None)
"""The replies to the requests of a batch, by their hashes."""


class _OnlyNotedError(Exception):
    """A request has been noted, and is not asked now."""


class BatchChatOpenAI(ChatOpenAI):
    """`ChatOpenAI` through the Batch API, which costs half as much, and may take up to 24 hours.

    All requests of one call of `batch` or `abatch` go into one job, or into several where they are more than a job may
    hold. The answers come in order, each from its own run, as those of `ChatOpenAI`. The requests are those that
    `ChatOpenAI` would make. `invoke` is a job of one request, so use `batch`. Nothing is streamed.

    A request that fails is that row's exception. A job that expires or is cancelled delivers what was done by then. The
    other rows get a `BatchJobError`. The next call asks them anew.

    With a `state` file, a killed process loses nothing. The next call with the same requests finds their jobs, waits
    for them, and pays nothing twice. Answers are then read from the job again, as long as the provider keeps its files.
    With a `cache` of its own, the model forgets a request once the cache has seen its answer.

    An account has a limit of tokens in jobs under way. A job beyond it is made again when another job of this model has
    ended. So many small jobs (`most_requests`) get through where one large job would fail.

    Any server with OpenAI's ``/v1/files`` and ``/v1/batches`` will do. Costs that this package computes, such as those
    of a `Budget`, are those of single requests. They are twice as high.

    Args:
        state: The file that keeps which request is in which job. None keeps it in memory.
        poll: Most seconds between two looks at a job. The first looks come sooner.
        most_requests: Most requests of one job.
        most_bytes: Most bytes of one job's file.
        model: As all other settings, that of `ChatOpenAI`.

    Raises:
        InvalidInputError: The state file cannot be opened.
        ValueError: `use_responses_api` is set. The jobs ask for chat completions.
        BatchJobError: A request failed in its job, or its job has ended without it.
        WiringError: A call asks for a pydantic class. A job can only hold its JSON schema.

    Source: OpenAI's Batch API, https://platform.openai.com/docs/guides/batch.

    Example:
        >>> model = BatchChatOpenAI(model="gpt-4o-mini", state="jobs.sqlite")  # doctest: +SKIP
        >>> chain = data_shunt(scorer, model, task=task, threshold=0.9)  # doctest: +SKIP
        >>> chain.batch(texts)  # doctest: +SKIP
        [{'input': ...}, ...]
    """

    state: Path | None = Field(default=None, exclude=True)
    poll: float = Field(default=60.0, gt=0, exclude=True)
    most_requests: int = Field(default=MOST_REQUESTS, ge=1, exclude=True)
    most_bytes: int = Field(default=MOST_BYTES, ge=1, exclude=True)
    use_responses_api: bool | None = False
    disable_streaming: bool | Literal["tool_calling"] = True

    _jobs: BatchJobs = PrivateAttr()

    @model_validator(mode="after")
    def _has_jobs(self) -> Self:
        if self.use_responses_api:
            msg = "Got use_responses_api=True but expected False: the jobs ask for chat completions"
            raise ValueError(msg)
        self._jobs = BatchJobs(
            self.root_client,
            self.root_async_client,
            JobState(self.state),
            poll=self.poll,
            most_requests=self.most_requests,
            most_bytes=self.most_bytes,
        )
        return self

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return cls.__module__.split(".")

    @override
    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        bodies, replies = drive(self._asked(inputs, kwargs))
        with _at_hand(bodies, replies):
            outputs = super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        drive(self._delivered(bodies))
        return outputs

    @override
    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        bodies, replies = await adrive(self._asked(inputs, kwargs))
        with _at_hand(bodies, replies):
            outputs = await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        await adrive(self._delivered(bodies))
        return outputs

    @override
    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._result(drive(self._answer(self._body(messages, stop, kwargs))))

    @override
    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._result(await adrive(self._answer(self._body(messages, stop, kwargs))))

    def _asked(self, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Flow:
        """The requests that a batch takes, and the reply to each."""
        bodies = yield Work(Context().run, (self._foreseen, inputs, kwargs))  # no run of it is told to anybody
        return bodies, (yield from self._jobs.answers(bodies))

    def _foreseen(self, inputs: Sequence[Any], kwargs: dict[str, Any]) -> list[Body]:
        """The requests that a batch takes. What the cache knows takes none. What cannot be asked fails later."""
        quiet = self.model_copy(update={"callbacks": None, "verbose": False, "rate_limiter": None})
        noted: list[Body] = []
        _noted.set(noted)
        with tracing_context(enabled=False):
            for value in inputs:
                with suppress(Exception):
                    quiet.invoke(value, **kwargs)
        return noted

    def _delivered(self, bodies: Sequence[Body]) -> Flow:
        """Forget what the model's own cache has seen."""
        if isinstance(self.cache, BaseCache):
            yield from self._jobs.forget(bodies)

    def _body(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Body:
        """The body of a request, as `ChatOpenAI` makes it."""
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        if isinstance(payload.get("response_format"), type):
            name = payload["response_format"].__name__
            msg = (
                f"Got the class {name} as response_format, which no batch job can hold; give its JSON schema "
                f'({name}.model_json_schema()), or method="function_calling"'
            )
            raise WiringError(msg)
        more: Mapping[str, Any] = payload.get("extra_body") or {}
        return {**{name: value for name, value in payload.items() if name not in _NO_BODY}, **more}

    def _answer(self, body: Body) -> Flow:
        """The reply to a request. One that no batch has foreseen becomes a job of its own."""
        noted, replies = _noted.get(), _replies.get()
        if noted is not None:
            noted.append(body)
            raise _OnlyNotedError
        if replies is None:
            return (yield from self._jobs.answers([body]))[0]
        mine = replies[hash_of(body)]
        return mine.popleft() if mine else BatchJobError("the request is not the one that was asked in the batch job")

    def _result(self, reply: Any) -> ChatResult:
        if isinstance(reply, Exception):
            raise reply
        return self._create_chat_result(ChatCompletion.construct(**reply))


@contextmanager
def _at_hand(bodies: Sequence[Body], replies: Sequence[Any]) -> Iterator[None]:
    """Within this context, these are the replies to these requests."""
    held: dict[str, deque[Any]] = defaultdict(deque)
    for body, reply in zip(bodies, replies, strict=True):
        held[hash_of(body)].append(reply)
    token = _replies.set(held)
    try:
        yield
    finally:
        _replies.reset(token)
