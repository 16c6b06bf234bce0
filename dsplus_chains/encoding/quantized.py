"""`QuantizedEncoder` is a sentence-transformers model in integers of eight bits, for processors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from math import isinf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Recipe
from dsplus_chains.encoding.lock import Locked
from dsplus_chains.encoding.quantizing import check_installed, quantized
from dsplus_chains.encoding.sentence import AUTO, load_model
from dsplus_chains.encoding.windows import cut, pool
from dsplus_chains.schema import InvalidInputError, brief_repr, shown


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedEncoder(Locked):
    """A sentence-transformers model that ONNX Runtime runs in 8-bit integers, as an `Encoder` for processors.

    The scale of the integers is found anew for what goes through the model together. So each piece of a text goes by
    itself, and no text's vector depends on the texts beside it. Several pieces are under way at once, one in each of
    torch's threads. Long texts are read as by `SentenceEncoder`.

    Args:
        graph: The model in the ONNX format, from token numbers to a vector.
        tokenizer: Its tokenizer.
        window: Largest number of tokens that a piece may have, special tokens not counted.
        name: Its name in a saved scorer.
        max_pieces: Largest number of pieces of one text that are read, evenly spread over it.
    """

    graph: bytes = field(repr=False)
    tokenizer: Any = field(repr=False)
    window: int
    name: str
    max_pieces: int = 64

    @classmethod
    def from_pretrained(
        cls,
        name: str = AUTO,
        *,
        device: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> QuantizedEncoder:
        """Load a sentence-transformers model by name, in 8-bit integers. Code that a model brings is never run.

        The first time, the model is converted, which takes a few seconds. The result is kept under a hash of the
        weights.

        Args:
            name: "auto", a hub name, or a folder. See `SentenceEncoder.from_pretrained`.
            device: Ignored, because it always runs on the processor.
            cache_dir: Folder of converted models. None takes the user's cache folder.
            local_files_only: Whether to take what is on this machine, and never ask the hub.

        Raises:
            ImportError: A package of the extra `fast` is missing.
            InvalidInputError: The model is no transformer with a window.
        """
        del device
        check_installed()
        model = load_model(name, device="cpu", local_files_only=local_files_only)
        tokenizer, longest = model.tokenizer, model.max_seq_length or 512
        if isinf(longest) or not hasattr(tokenizer, "is_fast"):
            msg = (
                f"Got the encoder {shown(name)}, which is no transformer with a window and a fast tokenizer. Such a "
                "model gains nothing from 8-bit integers; use SentenceEncoder"
            )
            raise InvalidInputError(msg)
        return cls(
            graph=quantized(model, None if cache_dir is None else Path(cache_dir)),
            tokenizer=tokenizer,
            window=longest - tokenizer.num_special_tokens_to_add(),
            name=name,
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe to make it again; see `load_encoder`."""
        return {"kind": "quantized", "name": self.name}

    @cached_property
    def _session(self) -> Any:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads that share one text wait for another
        options.log_severity_level = 3  # errors
        return InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}  # a session is not picklable

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, dimensions]."""
        with self._lock:  # fast tokenizers refuse to be used from two threads at once ("Already borrowed")
            pieces, weights, owners = cut(texts, self.tokenizer, self.window, self.max_pieces)
            tokens = self.tokenizer(pieces, truncation=True, max_length=self._longest)["input_ids"] if pieces else []
        if len(tokens) < 2:
            found = list(map(self._vector, tokens))
        else:
            with ThreadPoolExecutor(min(len(tokens), torch.get_num_threads())) as threads:
                found = list(threads.map(self._vector, tokens))
        vectors = np.stack(found) if found else np.empty((0, self._width), dtype=np.float32)
        return vectors if len(pieces) == len(texts) else pool(vectors, owners, weights, len(texts))

    @property
    def _longest(self) -> int:
        """Largest number of tokens that the model reads."""
        most: int = self.window + self.tokenizer.num_special_tokens_to_add()
        return most

    @property
    def _width(self) -> int:
        """Number of dimensions of a vector."""
        width: int = self._session.get_outputs()[0].shape[-1]
        return width

    def _vector(self, tokens: list[int]) -> NDArray[np.float32]:
        (vectors,) = self._session.run(None, {"tokens": np.array([tokens], dtype=np.int64)})
        vector: NDArray[np.float32] = vectors[0]
        return vector
