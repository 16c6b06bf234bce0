"""Cuts long texts into pieces that fit an encoder's window, and pools the pieces' vectors. All functions are pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pieces_of(text: str, tokenizer: Any, window: int, most: int) -> tuple[list[str], list[int]]:
    """Cut a text into pieces of at most `window` tokens each, at token borders.

    If there are more than `most` pieces, only `most` are taken, evenly spread from first to last. So a book costs no
    more than a chapter.

    Args:
        text: Any text.
        tokenizer: A Hugging Face fast tokenizer (it must return offsets).
        window: Number of tokens that a piece may have, special tokens not counted.
        most: Largest number of pieces to take.

    Returns:
        The pieces, and the number of tokens of each. A text that fits is its own only piece.
    """
    if text.isascii() and len(text) <= window:  # a token covers at least one character
        return [text], [max(len(text), 1)]
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)[
        "offset_mapping"
    ]
    if len(offsets) <= window:
        return [text], [max(len(offsets), 1)]
    spans = [offsets[start : start + window] for start in range(0, len(offsets), window)]
    if len(spans) > most:
        spans = [spans[number] for number in np.linspace(0, len(spans) - 1, most).round().astype(int)]
    return [text[span[0][0] : span[-1][1]] for span in spans], [len(span) for span in spans]


def cut(texts: Sequence[str], tokenizer: Any, window: int, most: int) -> tuple[list[str], list[int], list[int]]:
    """Cut several texts; see `pieces_of`.

    Returns:
        All pieces, the number of tokens of each, and the number of the text that each is from.
    """
    pieces: list[str] = []
    weights: list[int] = []
    owners: list[int] = []
    for row, text in enumerate(texts):
        own, sizes = pieces_of(text, tokenizer, window, most)
        pieces += own
        weights += sizes
        owners += [row] * len(own)
    return pieces, weights, owners


def pool(
    vectors: NDArray[np.float32], owners: Sequence[int], weights: Sequence[int], count: int
) -> NDArray[np.float32]:
    """The weighted mean of each owner's vectors, scaled to their average length.

    The mean of unit vectors is shorter than they are. Without the scaling, a long text would look unlike any short one
    to a linear head.

    Args:
        vectors: Vectors of shape [n pieces, dimensions].
        owners: The row that each piece belongs to, in [0, count).
        weights: The weight of each piece, such as its number of tokens.
        count: Number of owners. Each has at least one piece.

    Returns:
        Vectors of shape [count, dimensions].

    Example:
        >>> pool(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32), [0, 0], [1, 1], 1).round(3)
        array([[0.707, 0.707]], dtype=float32)
    """
    share = np.asarray(weights, dtype=np.float64)
    share = share / np.bincount(owners, weights=share, minlength=count)[owners]
    pooled = np.zeros((count, vectors.shape[1]))
    lengths = np.zeros(count)
    np.add.at(pooled, owners, share[:, None] * vectors)
    np.add.at(lengths, owners, share * np.linalg.norm(vectors, axis=1))
    norms = np.linalg.norm(pooled, axis=1)
    scale = np.divide(lengths, norms, out=np.ones(count), where=norms > 0)
    result: NDArray[np.float32] = (pooled * scale[:, None]).astype(np.float32)
    return result
