"""Runs texts through a sentence-transformers model that needs no more than their tokens.

`SentenceTransformer.encode` looks at each input anew, because it may be an image, a sound or a conversation. On an
H100 that took half of the time (`make bench-device`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

MOST_TOKENS = 2**17
"""Most tokens of a batch, padding included. Without a bound, 512 texts of 8,192 tokens would fill the largest GPU."""
_KINDS = ("input_ids", "token_type_ids")
"""What a tokenizer says of each token."""


def reads_tokens(model: SentenceTransformer) -> bool:
    """Whether the tokens of texts are all that a model needs.

    So it is for an encoder of texts with a fast tokenizer. A model that puts a prompt before each text, writes chats,
    reads other media, or cuts its vectors short goes through `SentenceTransformer.encode`.
    """
    first: Any = model[0]
    return (
        type(first) is Transformer
        and getattr(model.tokenizer, "is_fast", False)
        and model.tokenizer.pad_token_id is not None
        and {"attention_mask", *_KINDS}.issuperset(model.tokenizer.model_input_names)
        and first.transformer_task == "feature-extraction"
        and set(first.modality_config) == {"text"}
        and not (first.can_flatten_inputs or first.processing_kwargs)
        and model.default_prompt_name is None
        and model.truncate_dim is None
        and model.device.type in {"cpu", "cuda", "mps"}
    )


def vectors_of(model: SentenceTransformer, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]:
    """The vectors of texts, equal to those of `SentenceTransformer.encode`.

    Texts of as many tokens go together, so little is computed for padding. The vectors of a batch are fetched when the
    next one is under way, so a GPU does not wait.

    Args:
        model: A model that `reads_tokens`.
        texts: At least one text. Each fits the model's window, or is cut there.
        batch_size: Number of texts that go through the model at a time. Of long texts it is fewer; see `MOST_TOKENS`.

    Returns:
        An array of shape [n texts, dimensions].
    """
    coded = model.tokenizer(list(texts), truncation=True, return_attention_mask=False)
    order = np.argsort([-len(tokens) for tokens in coded["input_ids"]], kind="stable")
    model.eval()
    fetched: list[torch.Tensor] = []
    under_way: list[torch.Tensor] = []
    with torch.inference_mode():
        for rows in _batches(order, coded["input_ids"], batch_size):
            under_way.append(model(_padded(model.tokenizer, coded, rows, model.device))["sentence_embedding"])
            fetched += [vectors.cpu() for vectors in under_way[:-1]]
            del under_way[:-1]
        fetched += [vectors.cpu() for vectors in under_way]
    table: NDArray[np.float32] = torch.cat(fetched).float().numpy()
    found = np.empty_like(table)
    found[order] = table
    return found


def _batches(order: NDArray[np.int64], coded: Sequence[Sequence[int]], most: int) -> Iterator[NDArray[np.int64]]:
    """The row numbers in batches, the longest rows first."""
    start = 0
    while start < len(order):
        width = max(len(coded[order[start]]), 1)
        end = start + min(most, max(MOST_TOKENS // width, 1))
        yield order[start:end]
        start = end


def _padded(tokenizer: Any, coded: Any, rows: NDArray[np.int64], device: torch.device) -> dict[str, torch.Tensor]:
    """The tokens of some texts side by side, with the longest one first."""
    sizes = [len(coded["input_ids"][row]) for row in rows]
    width = sizes[0]
    within = np.arange(width) < np.array(sizes)[:, None]
    if tokenizer.padding_side == "left":
        within = within[:, ::-1]
    fills = dict(zip(_KINDS, (tokenizer.pad_token_id, tokenizer.pad_token_type_id), strict=True))
    features = {"attention_mask": within.astype(np.int64)}
    for name in coded:
        table = np.full(within.shape, fills[name], dtype=np.int64)
        table[within] = np.concatenate([coded[name][row] for row in rows])
        features[name] = table
    return {name: torch.from_numpy(table).to(device) for name, table in features.items()}
