"""`ImageEncoder` is a model of images as an `Encoder`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dsplus_chains.encoding.encoder import Recipe
from dsplus_chains.encoding.image_network import ImageNetwork
from dsplus_chains.encoding.image_reading import picture_of, read_image
from dsplus_chains.encoding.lock import Locked
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.encoding.timm_network import is_of_timm, load_timm
from dsplus_chains.schema import InvalidInputError, brief_repr, shown

if TYPE_CHECKING:
    import torch

AUTO = "auto"
HUB_NAME = "sentence-transformers/clip-ViT-B-32"


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEncoder(Locked):
    """A model of images as an `Encoder`. It takes images in every form that `read_image` knows.

    The images of a batch are decoded a few at a time, so that no more are in memory.

    Args:
        model: The model: a `SentenceTransformer` that reads images, or an `ImageNetwork`.
        name: Its name in a saved scorer.
        batch_size: Number of images that go through the model at a time.
        is_named: Whether `from_pretrained` can load it again by its name.

    Example:
        >>> import torch
        >>> flat = ImageEncoder.of_network(torch.nn.Flatten().eval(), name="pixels", size=2, crop=1)
        >>> flat.encode([np.zeros((8, 8), dtype=np.uint8)]).shape
        (1, 12)
    """

    modality: ClassVar[Modality] = "image"

    model: Any
    name: str
    batch_size: int = 32
    is_named: bool = False

    @classmethod
    def from_pretrained(
        cls,
        name: str = AUTO,
        *,
        device: str | None = None,
        batch_size: int = 32,
        local_files_only: bool = False,
    ) -> Self:
        """Load an encoder by name. Code that a model brings is never run.

        sentence-transformers loads CLIP and its like, and models of transformers that read images alone, such as ViT
        and DINOv2. timm loads its own networks, with the extra `timm`. These are named "timm/..." on the hub, as
        "timm/resnet18.tv_in1k", which has the weights of torchvision. A folder may come from timm's `save_for_hf`.

        Args:
            name: A hub name, a folder, or "auto", which is the hub's clip-ViT-B-32.
            device: Device of the model: "cpu", "cuda", "mps", and so on. None takes the best one available.
            batch_size: Number of images that go through the model at a time.
            local_files_only: Whether to take what is on this machine, and never ask the hub.

        Raises:
            InvalidInputError: The model reads no images, or its weights are in no safe form.
            ImportError: It is a network of timm, and the extra `timm` is missing.
        """
        from sentence_transformers import SentenceTransformer

        from dsplus_chains.encoding.quiet import no_progress_bar

        with no_progress_bar():
            if is_of_timm(name):
                network = load_timm(name, device=device, local_files_only=local_files_only)
                return cls(model=network, name=name, batch_size=batch_size, is_named=True)
            model = SentenceTransformer(
                HUB_NAME if name == AUTO else name,
                device=device,
                local_files_only=local_files_only,
                trust_remote_code=False,
            )
        if "image" not in model.modalities:
            msg = f"Got the encoder {shown(name)}, which reads {model.modalities}, but expected one that reads images"
            raise InvalidInputError(msg)
        return cls(model=model, name=name, batch_size=batch_size, is_named=True)

    @classmethod
    def of_network(cls, network: torch.nn.Module, *, name: str, batch_size: int = 32, **preparation: Any) -> Self:
        """An encoder of any torch network without its last layer.

        A saved scorer cannot load it by itself, so give it again: ``SmallModelScorer.load(path, encoder=...)``.

        Args:
            network: The network, in evaluation mode. See `ImageNetwork`.
            name: Its name in a saved scorer.
            batch_size: Number of images that go through the network at a time.
            **preparation: How images are prepared: `size`, `crop`, `mean` and `std`. See `ImageNetwork`.
        """
        return cls(model=ImageNetwork(network=network, **preparation), name=name, batch_size=batch_size)

    @property
    def recipe(self) -> Recipe | None:
        """The recipe to make it again; see `load_encoder`. None for a network of your own."""
        return {"kind": "image", "name": self.name} if self.is_named else None

    def encode(self, texts: Sequence[Any]) -> NDArray[np.float32]:
        """One vector for each image, as an array of shape [n images, dimensions].

        Raises:
            InvalidInputError: Something is no image, cannot be decoded, or would have to be fetched.
        """
        images = [read_image(image) for image in texts]
        parts = [images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size)]
        with self._lock:
            vectors = [
                self.model.encode(
                    [picture_of(image) for image in part],
                    batch_size=self.batch_size,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
                for part in parts
            ]
        return np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32)
