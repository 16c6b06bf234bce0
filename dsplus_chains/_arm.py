"""What goes into a large arm, what comes out of it, and how that becomes part of the record.

An arm is any Runnable that is asked when the small side is not sure: the large arm of a branch, the combining step
of a decomposer. It gets the record. It may answer with a plain value or with a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import AddableDict
from typing_extensions import override

from dsplus_chains._runnable import add_chunks
from dsplus_chains.schema import DSPlusError, InvalidInputError, LargeAnswer, as_label

ANSWER_KEYS = ("answer", "source", "large", "error")
"""The keys that whoever answers writes, so that a record on its way in must not keep old ones."""

_RETOLD_KEYS = (*ANSWER_KEYS, "prediction", "tiers", "subtasks")
"""The keys in which an arm's own record has the last word."""

_MISSING = object()


class EmptyAnswerError(DSPlusError):
    """An arm ended without an answer."""


class UsageCollector(BaseCallbackHandler):
    """Adds up the tokens of all chat model calls under one run.

    LangChain's own `UsageMetadataCallbackHandler` groups by model name and drops the tokens of a message that does
    not name its model.
    """

    run_inline = True  # no thread hop for an addition
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self) -> None:
        self.usage: UsageMetadata | None = None
        self._lock = Lock()

    @override
    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to count yet (the default would warn that it is not implemented)."""

    @override
    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        for generations in response.generations:
            for generation in generations[:1]:  # further candidates share the first one's call and usage
                if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                    with self._lock:
                        self.usage = add_usage(self.usage, generation.message.usage_metadata) or None


def watch(config: RunnableConfig, run_manager: Any, tag: str) -> tuple[RunnableConfig, UsageCollector]:
    """The config of an arm's run for one row, traced under `run_manager`, and the collector of its tokens."""
    collector = UsageCollector()
    callbacks = run_manager.get_child(tag)
    callbacks.add_handler(collector)
    return patch_config(config, callbacks=callbacks), collector


def leading_prompt(arm: Runnable[Any, Any]) -> BasePromptTemplate[Any] | None:
    """The prompt template that an arm starts with, if it starts with one."""
    while True:
        if isinstance(arm, RunnableBinding):
            arm = arm.bound
        elif isinstance(arm, RunnableSequence):
            arm = arm.first
        else:
            return arm if isinstance(arm, BasePromptTemplate) else None


def feed(prompt: BasePromptTemplate[Any] | None, record: dict[str, Any]) -> dict[str, Any]:
    """The record as the arm's prompt wants it: a prompt of one variable is fed from the record's `input`.

    Raises:
        InvalidInputError: The prompt has a variable that the record does not hold. A model that fails is a reason
            to fall back; a chain that is wired wrong is not.
    """
    missing = [] if prompt is None else [name for name in prompt.input_variables if name not in record]
    if not missing:
        return record
    if len(missing) == len(prompt.input_variables) == 1 and "input" in record:  # type: ignore[union-attr]
        return {**record, missing[0]: record["input"]}
    msg = (
        f"The large arm's prompt wants {sorted(missing)}, which the record does not hold; it has {sorted(record)}. "
        "Rename the prompt's variables, or add the keys before the branch with RunnablePassthrough.assign"
    )
    raise InvalidInputError(msg)


def without_answer(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the record without the keys of an earlier answer."""
    return {key: value for key, value in record.items() if key not in ANSWER_KEYS}


def merge_answer(record: dict[str, Any], output: Any, *, source: str, collector: UsageCollector) -> dict[str, Any]:
    """The record with an arm's output in it.

    A plain value becomes the `answer`; a record (`answer` and `source` present) is merged, and what it says of
    answer, source, large model, error, predictions and subtasks wins.

    Raises:
        EmptyAnswerError: The output is None.
    """
    if output is None:
        msg = "the large arm answered None; its last step must return the answer"
        raise EmptyAnswerError(msg)
    if isinstance(output, Mapping) and "answer" in output and "source" in output:
        return {**record, **{k: v for k, v in output.items() if k in _RETOLD_KEYS or k not in record}}
    output = as_label(output)  # StrOutputParser hands on a kind of string
    return {
        **record,
        "answer": output,
        "source": source,
        "large": LargeAnswer(value=output, usage=collector.usage),
    }


class AnswerStream:
    """The chunks of a streaming arm as chunks of the record, such that their sum is what `merge_answer` gives.

    Args:
        record: What has been yielded of the record so far.
        source: Who answers, if the arm does not say.
        collector: Counts the arm's tokens.
    """

    def __init__(self, record: dict[str, Any], *, source: str, collector: UsageCollector) -> None:
        self._record = record
        self._collector = collector
        self._total: Any = _MISSING
        self._held = AddableDict()
        self.started = False
        """Whether any of the answer is out. Until then nothing is, and the caller may still fall back."""
        self.source = source
        """Who answered, as far as the chunks so far tell."""

    def push(self, chunk: Any) -> Iterator[AddableDict]:
        """Take one chunk of the arm; yield at most one chunk of the record."""
        first = self._total is _MISSING
        chunk = as_label(chunk)
        self._total = chunk if first else add_chunks(self._total, chunk)
        if isinstance(chunk, Mapping) and self._is_record:
            self._held += self._news(chunk)
            self.source = chunk.get("source", self.source)
            if self.started or ("answer" in self._held and "source" in self._held):
                self.started = True
                held, self._held = self._held, AddableDict()
                if held:
                    yield held
        elif not self._is_record and chunk is not None:
            yield AddableDict(answer=chunk) if self.started else AddableDict(answer=chunk, source=self.source)
            self.started = True

    def finish(self) -> Iterator[AddableDict]:
        """Take the end of the arm; yield what is left to say.

        Raises:
            EmptyAnswerError: The arm yielded nothing, or only None.
        """
        if self._total is _MISSING or self._total is None:
            msg = "the large arm ended without a chunk; its last step must yield the answer"
            raise EmptyAnswerError(msg)
        if self._is_record and self.started:
            return
        end = AddableDict(large=LargeAnswer(value=self._total, usage=self._collector.usage))
        if not self.started:
            end.update(answer=self._total, source=self.source)
        yield end

    @property
    def _is_record(self) -> bool:
        """Whether the arm speaks in records: it repeats our input, or it brings answer and source."""
        total = self._total
        return isinstance(total, Mapping) and (
            ("input" in total and "input" in self._record and total["input"] == self._record["input"])
            or ("answer" in total and "source" in total)
        )

    def _news(self, chunk: Mapping[str, Any]) -> AddableDict:
        """What of a nested record has not been yielded yet; of the tiers, those that came on top."""
        news = AddableDict()
        for key, value in chunk.items():
            if key in ANSWER_KEYS or key not in self._record:
                news[key] = value
            elif key == "tiers":
                news[key] = value[len(self._record["tiers"]) :]
            elif key in _RETOLD_KEYS and value != self._record[key]:
                news[key] = value
        return news
