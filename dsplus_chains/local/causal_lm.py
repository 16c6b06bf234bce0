"""A causal language model of transformers that continues a prompt, and says how likely given answers are."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from typing_extensions import override

from dsplus_chains.local.literal import LiteralTexts
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import InvalidInputError

ROWS = 16
"""How many answers are scored in one forward pass. It limits the copies of the prompt's key/value cache."""


@dataclass(frozen=True)
class Piece:
    """A piece of generated text.

    Args:
        text: The new text. It may be empty, for half of a character or the possible beginning of a stop string.
        tokens: How many tokens were generated so far.
        finish: Why this is the last piece: "stop" or "length". None before that.
    """

    text: str
    tokens: int
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True)
class Scored:
    """The likelihood of given answers.

    Args:
        log_likelihoods: For each answer, the sum of the natural log-probabilities of its tokens after the prompt.
        tokens: For each answer, its number of tokens.
    """

    log_likelihoods: list[float]
    tokens: list[int]


class CausalLM:
    """Generates and scores text, one forward pass at a time, from any thread.

    The keys and values of the last prompt are kept. The next prompt is read only from where it first differs. So an
    instruction and examples at the beginning of every prompt are read once.

    Args:
        model: A causal language model of transformers. It is switched to evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        reuse_prefix: Whether to keep the keys and values of the last prompt.
    """

    def __init__(self, model: Any, tokenizer: Any, *, reuse_prefix: bool = True) -> None:
        if getattr(tokenizer, "chat_template", None) is None:
            msg = (
                "Got a tokenizer without a chat template but a chat model needs one: take an instruction-tuned model, "
                "or set tokenizer.chat_template"
            )
            raise ValueError(msg)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.reuse_prefix = reuse_prefix
        self._lock = ForkLock()
        self._known: tuple[list[int], Any] = ([], None)
        ends = getattr(model.generation_config, "eos_token_id", None)
        if ends is None:
            ends = tokenizer.eos_token_id
        self.ends = [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.model, self.tokenizer, self.reuse_prefix)

    def encode(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation as token numbers, up to where the assistant's next answer begins.

        Args:
            turns: The turns in order, each `{"role": ..., "content": ...}`.

        Returns:
            The prompt's tokens.
        """
        return LiteralTexts(self.tokenizer).encode(turns)

    def generate(
        self, prompt: list[int], *, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> Iterator[Piece]:
        """Continue a prompt, token by token.

        The lock is held for one forward pass at a time, never while the consumer looks at a piece. So a consumer that
        pauses, stops early, or asks the same model in between blocks nobody.

        Args:
            prompt: The prompt's tokens.
            max_tokens: Most tokens to generate. There are fewer if the model's window is full before.
            temperature: 0 takes the likeliest token. A higher value draws at random.
            seed: Seed that makes the draw repeatable.
            stop: Strings that end the answer. They are not part of it.

        Yields:
            Pieces. Only the last one has `finish`.

        Raises:
            InvalidInputError: The prompt fills the model's window.
        """
        import torch  # importing the package must not load torch

        room = self._room(prompt, 1, "one of an answer")
        max_tokens = max_tokens if room is None else min(max_tokens, room)
        generator = None if seed is None else torch.Generator(self.model.device).manual_seed(seed)
        with self._lock, torch.inference_mode():
            logits, cache = self._read(prompt)
            cache = copy.deepcopy(cache)
        tokens: list[int] = []
        sent = ""
        while True:
            if temperature:
                odds = (logits / temperature).softmax(-1)
                token = int(torch.multinomial(odds, 1, generator=generator))
            else:
                token = int(logits.argmax())
            tokens.append(token)
            text, stopped = cut_at_stop(self.tokenizer.decode(tokens, skip_special_tokens=True), stop)
            if stopped or token in self.ends or len(tokens) == max_tokens:
                if not stopped:  # what was held back is no stop string after all
                    text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                finish: Literal["stop", "length"] = "stop" if stopped or token in self.ends else "length"
                yield Piece(text[len(sent) :], len(tokens), finish)
                return
            if text.endswith("\N{REPLACEMENT CHARACTER}"):  # a character of several tokens is not complete yet
                text = sent
            yield Piece(text[len(sent) :], len(tokens))
            sent = max(sent, text, key=len)
            with self._lock, torch.inference_mode():
                logits, cache = self._forward([[token]], cache, logits_to_keep=1)
                logits = logits[0, -1].float()

    def score(self, prompt: list[int], answers: Sequence[str]) -> Scored:
        """Say how likely each of the given answers is after the prompt.

        All tokens of an answer count. The tokens of one answer may be the beginning of another ("card", "card lost").
        Then an end token is scored with every answer. Otherwise the shorter answer could never lose.

        Args:
            prompt: The prompt's tokens.
            answers: The answers. None may be empty.

        Returns:
            Log-likelihoods and token counts, in the order of `answers`.

        Raises:
            InvalidInputError: The prompt and the longest answer do not fit into the model's window.
        """
        import torch

        coded = [self.tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
        if one_begins_another(coded):
            coded = [[*code, *self.ends[:1]] for code in coded]
        longest = max(map(len, coded))
        self._room(prompt, longest, f"{longest} of the longest answer")
        with self._lock, torch.inference_mode():
            logits, cache = self._read(prompt)
            first = logits.log_softmax(-1)
            totals = [float(first[code[0]]) for code in coded]
            several = [number for number, code in enumerate(coded) if len(code) > 1]
            for start in range(0, len(several), ROWS):
                rows = several[start : start + ROWS]
                for number, rest in zip(rows, self._rest(cache, [coded[row] for row in rows]), strict=True):
                    totals[number] += rest
        return Scored(totals, [len(code) for code in coded])

    def _rest(self, cache: Any, coded: list[list[int]]) -> list[float]:
        """The log-probability of each answer's tokens after its first one, in one forward pass."""
        width = max(map(len, coded)) - 1
        # Padding on the right needs no mask, since a token never sees those after it.
        rows = [code[:-1] + [0] * (width - len(code) + 1) for code in coded]
        copies = copy.deepcopy(cache)
        copies.batch_repeat_interleave(len(rows))
        logits, _ = self._forward(rows, copies)
        logs = logits.float().log_softmax(-1)
        return [
            sum(float(logs[row, position, token]) for position, token in enumerate(code[1:]))
            for row, code in enumerate(coded)
        ]

    def _read(self, prompt: list[int]) -> tuple[Any, Any]:
        """Read a prompt. Return the logits of the next token, and the keys and values.

        The caller must not change the keys and values.
        """
        known, cache = self._known
        shared = shared_prefix(known, prompt[:-1]) if cache is not None else 0
        if shared:
            cache = copy.deepcopy(cache)
            if len(known) > shared:
                cache.crop(shared - len(known))
        logits, cache = self._forward([prompt[shared:]], cache if shared else None, logits_to_keep=1)
        self._known = (list(prompt), cache) if self.reuse_prefix and _can_be_cropped(cache) else ([], None)
        return logits[0, -1].float(), cache

    def _forward(self, rows: list[list[int]], cache: Any, **more: Any) -> tuple[Any, Any]:
        """One forward pass. Return the logits, and the given keys and values with the new ones added."""
        output = self.model(input_ids=self._tensor(rows), use_cache=True, **{self._cache_name: cache}, **more)
        return output.logits, output[self._cache_name]

    @cached_property
    def _cache_name(self) -> str:
        """The model's name for its keys and values. transformers 5.24 changed this name."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    def _tensor(self, rows: list[list[int]]) -> Any:
        import torch

        return torch.tensor(rows, device=self.model.device)

    def _room(self, prompt: list[int], needed: int, what: str) -> int | None:
        """How many tokens the model can still read after the prompt. None if it has no limit."""
        window: int | None = getattr(self.model.config, "max_position_embeddings", None)
        if window is not None and len(prompt) + needed > window:
            msg = (
                f"Got a prompt of {len(prompt)} tokens, and {what}, but the model reads {window} tokens at most; "
                "shorten the input"
            )
            raise InvalidInputError(msg)
        return None if window is None else window - len(prompt)


def _rebuild(model: Any, tokenizer: Any, reuse_prefix: bool) -> CausalLM:
    return CausalLM(model, tokenizer, reuse_prefix=reuse_prefix)


def _can_be_cropped(cache: Any) -> bool:
    """Whether all tokens are still in the cache. A sliding window or a recurrent state has lost some."""
    from transformers import DynamicCache

    return type(cache) is DynamicCache and not any(getattr(cache, "is_sliding", ()))


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many items two sequences have in common at their beginning.

    Example:
        >>> shared_prefix([1, 2, 3, 4], [1, 2, 9])
        2
    """
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def one_begins_another(coded: Sequence[Sequence[int]]) -> bool:
    """Whether any sequence is the beginning of another one.

    Example:
        >>> one_begins_another([[7], [7, 8]]), one_begins_another([[7, 9], [7, 8]])
        (True, False)
    """
    ordered = sorted(map(list, coded))  # a beginning sorts directly before the sequences that it begins
    return any(after[: len(before)] == before for before, after in itertools.pairwise(ordered))


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Cut a text at the first stop string. Hold back an end that may become one.

    Returns:
        The text that is safe to show, and whether a stop string was found.

    Example:
        >>> cut_at_stop("yes. END of it", ["END"]), cut_at_stop("yes. EN", ["END"]), cut_at_stop("yes", ["END"])
        (('yes. ', True), ('yes. ', False), ('yes', False))
    """
    found = [text.index(word) for word in stop if word in text]
    if found:
        return text[: min(found)], True
    held = max((n for word in stop for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
    return text[: len(text) - held], False
