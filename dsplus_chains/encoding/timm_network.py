"""Loads the networks of timm by name, which sentence-transformers does not know."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from dsplus_chains.encoding.image_network import ImageNetwork
from dsplus_chains.schema import InvalidInputError, describe_error, shown

OF_HUB = "timm/"
"""How the names of timm's networks on the hub begin."""
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def is_of_timm(name: str) -> bool:
    """Whether a name is that of a network of timm: one on the hub, or a folder that timm has saved.

    Example:
        >>> is_of_timm("timm/mobilenetv3_small_100.lamb_in1k"), is_of_timm("facebook/dinov2-small")
        (True, False)
    """
    try:
        told = json.loads((Path(name) / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no folder, or one of another kind
        return name.startswith(OF_HUB)
    return isinstance(told, dict) and "pretrained_cfg" in told and "model_type" not in told


def load_timm(name: str, *, device: str | None, local_files_only: bool) -> ImageNetwork:
    """Load a network of timm without its last layer. Its pictures are prepared by the sizes that it was trained with.

    Args:
        name: A name on the hub that begins with "timm/", or a folder.
        device: Device of the network. None takes the best one available.
        local_files_only: Whether to take what is on this machine, and never ask the hub.

    Raises:
        ImportError: The package timm is missing, or does not start.
        InvalidInputError: Its weights are no safetensors, or it takes no square pictures in three colours.
    """
    timm = _timm()
    from sentence_transformers.util import get_device_name

    folder = Path(name) if Path(name).is_dir() else _fetched(name, local_files_only=local_files_only)
    if not (folder / _WEIGHTS).is_file():
        msg = f"Got the network {shown(name)} without {_WEIGHTS} but expected one; no other file of weights is read"
        raise InvalidInputError(msg)
    network = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True, num_classes=0)
    told = timm.data.resolve_model_data_config(network)
    colours, height, width = told["input_size"]
    if colours != 3 or height != width:
        came = f"{colours} x {height} x {width}"
        msg = f"Got the network {shown(name)}, whose pictures are {came}, but expected squares in 3 colours"
        raise InvalidInputError(msg)
    return ImageNetwork(
        network=network.eval().to(device or get_device_name()),
        size=height,
        crop=told["crop_pct"],
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
    )


def _fetched(name: str, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    files = [_CONFIG, _WEIGHTS]
    return Path(snapshot_download(name, allow_patterns=files, local_files_only=local_files_only))


def _timm() -> Any:
    """The package.

    Raises:
        ImportError: It is missing, or does not start.
    """
    try:
        return import_module("timm")
    except ImportError as error:
        msg = "A network of timm needs that package; run: pip install 'dsplus-chains[timm]'"
        raise ImportError(msg) from error
    except RuntimeError as error:  # what a torchvision says that was built for another torch
        msg = f"timm does not start ({describe_error(error)}); install the torchvision that was built for your torch"
        raise ImportError(msg) from error
