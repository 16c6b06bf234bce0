"""`LanguageModelEncoder` uses the hidden states of a small language model that reads a prompted text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.dtype import Dtype, check_dtype
from dsplus_chains.encoding.encoder import Recipe
from dsplus_chains.encoding.lock import Locked
from dsplus_chains.encoding.quiet import no_progress_bar
from dsplus_chains.schema import InvalidInputError, brief_repr

DEPTH = 2 / 3
"""The depth at which a text's tokens are read. It is deep enough for meaning. Later layers turn to the next words."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModelEncoder(Locked):
    r"""A small language model as an `Encoder`, by its hidden states instead of its words.

    A sentence encoder is trained to tell topics apart. A language model also follows what is said about them, such as
    praise or blame.

    A vector is two unit vectors side by side. The first is the mean over the tokens of the text, two thirds up the
    layers. The second is the last token of the prompt at the top layer, where the model is about to answer. A linear
    head is fitted on each (`views`). If nothing stands before the text, its first token is left out of the mean.
    Language models put much attention there, whatever the token is.

    Args:
        model: The model without its language head (``AutoModel``), or a causal language model.
        tokenizer: Its tokenizer.
        prompt: The prompt that the model reads, with ``{text}`` where the text goes. It should say what the text is,
            and end where an answer about it would begin: "Review: {text}\nThe sentiment of this review is".
        name: Its name in a saved scorer.
        batch_size: Number of texts that go through the model at a time. Texts of similar length go together.
        max_tokens: Largest number of tokens of a text that are read, from its beginning. It is fewer if the model reads
            fewer.
        by_name: Whether the name is enough to find the weights again, as for `from_pretrained`. Otherwise a saved
            scorer must be loaded with ``encoder=``.

    Raises:
        InvalidInputError: The prompt does not name ``{text}`` exactly once, or it fills the model's window. Or a number
            is below 1.

    Source: reading a prompted last token follows PromptEOL (Jiang et al. 2023, arXiv 2307.16645). Middle layers carry
    more than the last one, by Skean et al. 2025 (arXiv 2502.02013).

    Example:
        >>> encoder = LanguageModelEncoder.from_pretrained(  # doctest: +SKIP
        ...     "HuggingFaceTB/SmolLM2-135M-Instruct", prompt="Review: {text}\nIs it negative or positive? It is"
        ... )
        >>> encoder.encode(["great phone", "broke at once"]).shape  # doctest: +SKIP
        (2, 1152)
    """

    model: Any
    tokenizer: Any
    prompt: str
    name: str = "language model"
    batch_size: int = 8
    max_tokens: int = 1024
    by_name: bool = False

    def __post_init__(self) -> None:
        if min(self.batch_size, self.max_tokens) < 1:
            msg = f"Got batch_size={self.batch_size}, max_tokens={self.max_tokens} but expected at least 1 of each"
            raise InvalidInputError(msg)
        if self.prompt.count("{text}") != 1:
            msg = f"Got the prompt {self.prompt[:80]!r} but expected one with {{text}} in it, once"
            raise InvalidInputError(msg)
        if self._room() < 1:
            msg = f"Got the prompt {self.prompt[:80]!r}, which fills the model's window; write a shorter one"
            raise InvalidInputError(msg)

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        prompt: str,
        device: str | None = None,
        dtype: Dtype = "float32",
        batch_size: int = 8,
        max_tokens: int = 1024,
        reply: str | None = None,
        local_files_only: bool = False,
    ) -> LanguageModelEncoder:
        """Load a language model by its name on the hub, or from a folder. Code that a model brings is never run.

        Args:
            name: A hub name, or a folder that transformers can load.
            prompt: The prompt that the model reads, with ``{text}`` where the text goes.
            device: Device of the model ("cpu", "cuda", ...). None takes a GPU if there is one.
            dtype: Number type of the weights. "bfloat16" is several times faster on processors that know it. But it
                rounds, so a confidence depends a little, about 0.01, on which texts share a batch.
            batch_size: Number of texts that go through the model at a time.
            max_tokens: Largest number of tokens of a text that are read.
            reply: Beginning of the reply of a model tuned for chat, such as "The sentiment is". It may be empty. With
                it the model gets the prompt as a user's message, in the format that it was tuned on.
            local_files_only: Whether to take what is on this machine, and never ask the hub.

        Raises:
            InvalidInputError: The `dtype` is unknown. Or there is a `reply`, but the tokenizer knows no chat format.
        """
        import torch
        from transformers import AutoModel, AutoTokenizer

        check_dtype(dtype)
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        how: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
        tokenizer: Any = AutoTokenizer.from_pretrained(name, **how)
        with no_progress_bar():
            model: Any = AutoModel.from_pretrained(name, dtype=getattr(torch, dtype), **how)
        return cls(
            model=model.to(where).eval(),
            tokenizer=tokenizer,
            prompt=prompt if reply is None else _as_chat(tokenizer, prompt, reply),
            name=name,
            batch_size=batch_size,
            max_tokens=max_tokens,
            by_name=True,
        )

    @property
    def recipe(self) -> Recipe | None:
        """The recipe to make it again; see `load_encoder`."""
        if not self.by_name:
            return None
        dtype = str(self.model.dtype).removeprefix("torch.")
        settings = {"prompt": self.prompt, "dtype": dtype, "batch_size": self.batch_size, "max_tokens": self.max_tokens}
        return {"kind": "language model", "name": self.name, **settings}

    @property
    def views(self) -> tuple[int, int]:
        """The widths of the two vectors that stand side by side."""
        return self.model.config.hidden_size, self.model.config.hidden_size

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, 2 x the model's hidden size]."""
        vectors = np.zeros((len(texts), sum(self.views)), dtype=np.float32)
        with self._lock:
            before, after = self._frame()
            room = self._room()
            # Special tokens in the text are split, so that a text cannot end the message.
            coded = [self._ids(text, split_special_tokens=True)[:room] for text in texts]
            for rows in self._batches(coded):
                vectors[rows] = self._read(before, [coded[row] for row in rows], after)
        return vectors

    def _ids(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"]
        return ids

    def _frame(self) -> tuple[list[int], list[int]]:
        """The tokens of the prompt before and after the text. The model's special first tokens are included."""
        before, _, after = self.prompt.partition("{text}")
        begin = self.tokenizer(before)["input_ids"]
        return begin, self._ids(after)

    def _room(self) -> int:
        """Number of tokens of a text that are read. The prompt must fit into the model's window too."""
        window: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return self.max_tokens if window is None else min(self.max_tokens, window - sum(map(len, self._frame())))

    def _batches(self, coded: list[list[int]]) -> Iterator[list[int]]:
        """Row numbers, with texts of similar length together. That saves computation on padding."""
        order = sorted(range(len(coded)), key=lambda row: len(coded[row]))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _read(self, before: list[int], coded: list[list[int]], after: list[int]) -> NDArray[np.float32]:
        import torch

        rows = [[*before, *code, *after] or [0] for code in coded]
        width = max(map(len, rows))
        # Padding on the right needs no mask, because earlier tokens never see later ones.
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.model.device)
        with torch.inference_mode():
            layers = self.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        within, top = layers[round(DEPTH * (len(layers) - 1))], layers[-1]
        means = torch.stack([within[n, _span(len(before), len(code))].float().mean(0) for n, code in enumerate(coded)])
        lasts = torch.stack([top[n, len(row) - 1].float() for n, row in enumerate(rows)])
        unit = torch.nn.functional.normalize
        vectors: NDArray[np.float32] = torch.cat([unit(means), unit(lasts)], dim=1).cpu().numpy()
        return vectors


def _span(start: int, length: int) -> slice:
    """The place of a text's tokens, without the very first token of all.

    For an empty text it is one token next to it.
    """
    if not length:
        start, length = max(start - 1, 0), 1
    return slice(start + (start == 0 and length > 1), start + length)


def _as_chat(tokenizer: Any, prompt: str, reply: str) -> str:
    """The prompt as a user's message and the beginning of the reply, in a model's own format.

    Raises:
        InvalidInputError: The tokenizer has no such format.
    """
    if not getattr(tokenizer, "chat_template", None):
        msg = "Got a reply but the model's tokenizer knows no chat format; leave reply out, the prompt is read as it is"
        raise InvalidInputError(msg)
    message = [{"role": "user", "content": prompt}]
    chat: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True) + reply
    begin: str | None = tokenizer.bos_token  # the tokenizer adds it to the prompt, if the model wants it
    return chat.removeprefix(begin) if begin and tokenizer("")["input_ids"] else chat
