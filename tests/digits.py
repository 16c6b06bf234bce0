"""Digits of scikit-learn as images, and encoders of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fakes import TinyEncoder
from sklearn.datasets import load_digits

from dsplus_chains.encoding import picture_of


def digits(n: int, *, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Some digits as arrays of 8 x 8 pixels, and what they show."""
    found = load_digits()
    rows = np.random.default_rng(seed).permutation(len(found.target))[:n]
    return np.round(found.images[rows] * 255 / 16).astype(np.uint8), [str(label) for label in found.target[rows]]


def written(folder: Path, pixels: np.ndarray) -> list[Path]:
    """The images as files, one each."""
    from PIL import Image

    paths = [folder / f"{row:04}.png" for row in range(len(pixels))]
    for path, one in zip(paths, pixels, strict=True):
        Image.fromarray(one).save(path)
    return paths


@dataclass
class PixelEncoder(TinyEncoder):
    """The pixels themselves, as shares."""

    name: str = "pixels"
    modality: str = "image"

    def encode(self, images):
        self.calls.append(len(images))
        return np.stack([np.asarray(picture_of(one).convert("L").resize((8, 8))).ravel() for one in images]).astype(
            np.float32
        ) / np.float32(255)
