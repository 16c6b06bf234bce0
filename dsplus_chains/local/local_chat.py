"""A LangChain chat model that runs a model of transformers in this process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough, RunnablePick
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from typing_extensions import override

from dsplus_chains.local.causal_lm import CausalLM
from dsplus_chains.local.choices import MemberParser, check_bias, check_choices, normalise, nothing
from dsplus_chains.local.gguf import convert_gguf
from dsplus_chains.schema import InvalidInputError


class LocalChatModel(BaseChatModel):
    """A chat model over a causal language model of transformers, on this machine.

    Beside generating text, it can choose. With `choices` bound, it answers with the likeliest choice instead of
    sampling. (vLLM calls this `guided_choice`.) Then `response_metadata["choice_logprobs"]` holds the natural logarithm
    of each choice's probability among the choices. `with_structured_output(<Enum class>)` is built on that.

    Small models favour some labels, whatever the input is. `choice_bias` measures that on prompts without known
    answers. Bind the result as `choice_bias`. It is then subtracted from the log-likelihoods before choices are
    compared.

    Threads may share one model, since forward passes take turns. A common beginning of prompts is read once. So put the
    instruction and the examples first, and the input last.

    Example:
        >>> chat = LocalChatModel.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")  # doctest: +SKIP
        >>> chat.bind(choices=["positive", "negative"]).invoke("Is this praise or blame? I love it!")  # doctest: +SKIP
        AIMessage(content='positive', ...)
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Any = Field(exclude=True, repr=False)
    """A causal language model of transformers. It is switched to evaluation mode."""
    tokenizer: Any = Field(exclude=True, repr=False)
    """Its tokenizer, with a chat template."""
    model_name: str = "local"
    """Name of the model in `response_metadata`, in traces and in usage counts."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""
    temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """0 always takes the likeliest token. A higher value draws at random."""
    seed: int | None = None
    """Seed that makes random draws repeatable. The same prompt then gets the same answer."""
    reuse_prefix: bool = True
    """Whether the last prompt's keys and values are kept for the next one."""

    _engine: CausalLM = PrivateAttr()

    @override
    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._engine = CausalLM(self.model, self.tokenizer, reuse_prefix=self.reuse_prefix)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, device: str | None = None, **settings: Any
    ) -> Self:
        """Load a model by its name on the hub, or from a folder. Code that a model brings is never run.

        Args:
            name_or_path: A hub name, or a folder that transformers can load.
            device: Where it runs ("cpu", "cuda", ...). None takes a GPU if there is one.
            **settings: Any other field.

        Returns:
            The chat model.
        """
        import torch  # importing the package must not load torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from dsplus_chains.encoding.quiet import no_progress_bar

        name = os.fspath(name_or_path)
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with no_progress_bar():
            model: Any = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        return cls(model=model.to(where), tokenizer=tokenizer, **{"model_name": Path(name).name, **settings})

    @classmethod
    def from_gguf(
        cls,
        path: str | os.PathLike[str],
        *,
        cache_dir: str | os.PathLike[str],
        device: str | None = None,
        **settings: Any,
    ) -> Self:
        """Load weights from a GGUF file. The first time, it is converted, which takes some 20 seconds.

        Args:
            path: The file. Its name, without the ending, becomes `model_name`.
            cache_dir: Where the converted model is kept (4 bytes a parameter). Later loads take a second.
            device: Where it runs ("cpu", "cuda", ...). None takes a GPU if there is one.
            **settings: Any other field.

        Returns:
            The chat model.

        Raises:
            FileNotFoundError: There is no such file.
            ImportError: A package of the extra `local` is missing.
        """
        settings.setdefault("model_name", Path(path).stem)
        return cls.from_pretrained(convert_gguf(path, cache_dir=cache_dir), device=device, **settings)

    @property
    @override
    def _llm_type(self) -> str:
        return "dsplus-local"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, **self._settings({})}

    def choice_bias(self, choices: Sequence[str], prior_messages: Sequence[LanguageModelInput]) -> dict[str, float]:
        """Measure how much the model favours each choice, whatever the input is.

        The result is the mean log-probability of each choice over the prompts. Their answers need not be known. This is
        contextual calibration (Zhao et al. 2021, "Calibrate Before Use"), but with real inputs in place of "N/A". Batch
        calibration (Zhou et al. 2023) uses real inputs too. The prompts should cover the choices about as evenly as
        later inputs.

        Args:
            choices: The answers to choose from.
            prior_messages: Prompts of the kind that will be asked. Some 20 are enough.

        Returns:
            The natural log-probability of each choice, to be bound as `choice_bias`.
        """
        if not prior_messages:
            msg = "Got no prior_messages but expected at least one prompt; leave the argument out to correct nothing"
            raise ValueError(msg)
        answers = self.bind(choices=list(choices)).batch(list(prior_messages))
        found = [answer.response_metadata["choice_logprobs"] for answer in answers]
        return {choice: math.fsum(row[choice] for row in found) / len(found) for choice in choices}

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        prior_messages: Sequence[LanguageModelInput] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Choose one member of an Enum class.

        Args:
            schema: An Enum class whose values are strings: the answers to choose from.
            include_raw: Return `{"raw": message, "parsed": member, "parsing_error": None}` in place of the member.
            prior_messages: Prompts without known answers. On them the model's preference for some answers is measured
                now, once. It is then corrected (see `choice_bias`). None corrects nothing.
            **kwargs: No other argument is allowed.

        Returns:
            A Runnable from a prompt to a member of `schema`.

        Raises:
            ValueError: `schema` is not an Enum class of strings, or an argument is unknown.
        """
        if kwargs:
            msg = f"Got {', '.join(kwargs)} but expected only include_raw and prior_messages"
            raise ValueError(msg)
        if not (isinstance(schema, type) and issubclass(schema, Enum)):
            msg = (
                f"Got schema={schema!r} but LocalChatModel can only choose among the values of an Enum class; "
                "write one, such as: class Answer(StrEnum): ..."
            )
            raise InvalidInputError(msg)
        choices = check_choices([member.value for member in schema])
        bound: dict[str, Any] = {"choices": choices}
        if prior_messages is not None:
            bound["choice_bias"] = self.choice_bias(choices, prior_messages)
        chosen = self.bind(**bound)
        parser = MemberParser(members=schema)
        if not include_raw:
            return chosen | parser
        # The answer is always one of the choices, so there is no parsing error to report.
        return RunnableParallel(raw=chosen) | RunnablePassthrough.assign(
            parsed=RunnablePick("raw") | parser, parsing_error=RunnableLambda(nothing)
        )

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chunks = list(self._answer(messages, stop or (), self._settings(kwargs)))
        message = AIMessage(
            content="".join(str(chunk.content) for chunk in chunks),
            response_metadata=chunks[-1].response_metadata,
            usage_metadata=chunks[-1].usage_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._answer(messages, stop or (), self._settings(kwargs)):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.content), chunk=generation)
            yield generation

    def _answer(
        self, messages: list[BaseMessage], stop: Sequence[str], settings: dict[str, Any]
    ) -> Iterator[AIMessageChunk]:
        prompt = self._engine.encode([_turn(message) for message in messages])
        choices, bias = settings.pop("choices", None), settings.pop("choice_bias", None)
        if choices is None:
            for piece in self._engine.generate(prompt, stop=stop, **settings):
                if piece.finish is None:
                    yield AIMessageChunk(content=piece.text)
                else:
                    yield self._last_chunk(piece.text, len(prompt), piece.tokens, {"finish_reason": piece.finish})
            return
        choices = check_choices(choices)
        scored = self._engine.score(prompt, choices)
        logs = normalise([x - b for x, b in zip(scored.log_likelihoods, check_bias(bias, choices), strict=True)])
        best = max(range(len(choices)), key=logs.__getitem__)
        facts = {"finish_reason": "stop", "choice_logprobs": dict(zip(choices, logs, strict=True))}
        yield self._last_chunk(choices[best], len(prompt), scored.tokens[best], facts)

    def _last_chunk(self, text: str, prompt: int, answer: int, facts: dict[str, Any]) -> AIMessageChunk:
        # Merging chunks adds up usage and joins strings, so both are told once, at the end.
        return AIMessageChunk(
            content=text,
            response_metadata={"model_name": self.model_name, **facts},
            usage_metadata=UsageMetadata(input_tokens=prompt, output_tokens=answer, total_tokens=prompt + answer),
        )

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of one call: the fields, or what was bound or passed in their place. All are checked."""
        call = _Call.model_validate(
            {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed, **given}
        )
        return call.model_dump(exclude_none=False)


class _Call(BaseModel):
    """What may be passed with one call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(ge=1)
    temperature: float = Field(ge=0, allow_inf_nan=False)
    seed: int | None
    choices: list[str] | None = None
    choice_bias: dict[str, float] | None = None


def _turn(message: BaseMessage) -> dict[str, str]:
    roles = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}
    role = next((role for kind, role in roles.items() if isinstance(message, kind)), None)
    if isinstance(message, ChatMessage):
        role = message.role
    other = [
        block
        for block in ([] if isinstance(message.content, str) else message.content)
        if not isinstance(block, str) and block.get("type") != "text"
    ]
    if role is None or other:
        what = f"a {type(message).__name__}" + (f" with a block of type {other[0].get('type')!r}" if other else "")
        msg = f"Got {what} but LocalChatModel reads only text of system, human and AI messages"
        raise InvalidInputError(msg)
    return {"role": role, "content": str(message.text)}
