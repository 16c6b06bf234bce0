"""`ImageNetwork` makes vectors of pictures with any torch network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.schema import InvalidInputError, brief_repr

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue in ImageNet, by which most networks are trained."""


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageNetwork:
    """A torch network with the way in which its pictures are prepared.

    Args:
        network: A module in evaluation mode. It gets pixels of shape [n, 3, size, size]. It returns vectors, or maps of
            features of shape [n, dimensions, h, w]. Maps are averaged.
        size: Height and width of the pictures that it takes.
        crop: Share of a picture's shorter side that is seen, around its middle.
        mean: What is subtracted from red, green and blue, which are in [0, 1].
        std: What they are then divided by.

    Raises:
        InvalidInputError: The network is in training mode, where the vector of a picture depends on its batch.
    """

    network: torch.nn.Module
    size: int = 224
    crop: float = 0.875
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.network.training:
            msg = f"Got a {type(self.network).__name__} in training mode but expected one that is used: network.eval()"
            raise InvalidInputError(msg)

    def encode(self, pictures: list[Image], **_: Any) -> NDArray[np.float32]:
        """One vector for each picture."""
        import torch  # heavy, so only where there is a network

        pixels = np.stack([self._pixels(picture) for picture in pictures])
        where = next(self.network.parameters(), torch.empty(0)).device
        with torch.inference_mode():
            found = self.network(torch.from_numpy(pixels).to(where))
        vectors: NDArray[np.float32] = (found.mean(dim=(2, 3)) if found.ndim == 4 else found).float().cpu().numpy()
        return vectors

    def _pixels(self, picture: Image) -> NDArray[np.float32]:
        from PIL import Image, ImageOps

        fitted = ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BICUBIC, bleed=(1 - self.crop) / 2)
        shares = np.asarray(fitted, dtype=np.float32) / 255
        scaled = (shares - np.asarray(self.mean, dtype=np.float32)) / np.asarray(self.std, dtype=np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
