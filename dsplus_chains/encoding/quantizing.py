"""Converts a sentence-transformers model to 8-bit integers in the ONNX format, once for each set of weights."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import platformdirs
import torch
from sentence_transformers import SentenceTransformer
from typing_extensions import override

from dsplus_chains.running.forking import ForkLock

PACKAGES = ("onnx", "onnxruntime")
FORMAT = 1
"""Number of the way in which models are converted. It is part of the name of what is kept."""
OPSET = 17
_ONE_AT_A_TIME = ForkLock()
"""torch's exporter refuses to be used from two threads at once."""


def check_installed() -> None:
    """Refuse to go on without the packages that the conversion needs.

    Raises:
        ImportError: One is missing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        msg = f"An encoder in 8-bit integers needs {' and '.join(missing)}; run: pip install 'dsplus-chains[fast]'"
        raise ImportError(msg)


def quantized(model: SentenceTransformer, cache_dir: Path | None = None) -> bytes:
    """A model in 8-bit integers, as the content of an ONNX file. It is taken from the cache if it is there.

    Two processes may convert the same model at the same time. Both come to the same file, which appears whole.

    Args:
        model: The model, on the processor.
        cache_dir: The folder for converted models. None takes the user's cache folder. If nothing can be written there,
            nothing is kept.
    """
    folder = platformdirs.user_cache_path("dsplus_chains", appauthor=False) if cache_dir is None else cache_dir
    place = folder / "quantized" / f"{_fingerprint(model)}.onnx"
    with _ONE_AT_A_TIME:
        with suppress(OSError):
            return place.read_bytes()
        graph = _convert(model)
        with suppress(OSError):
            _keep(place, graph)
        return graph


def _fingerprint(model: SentenceTransformer) -> str:
    """A hash of all that decides how the model is converted: its layers, its weights, and who converts them."""
    makers = [f"{name} {version(name)}" for name in ("onnxruntime", "torch", "transformers")]
    digest = hashlib.sha256(f"{FORMAT} {makers} {model}".encode())
    for name, weights in model.state_dict().items():
        digest.update(f"{name} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Whole(torch.nn.Module):
    """All layers of a model, from the token numbers of texts of one length to their vectors."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.layers = model

    @override
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        for layer in self.layers:
            features = layer(features)
        return features["sentence_embedding"]


def _convert(model: SentenceTransformer) -> bytes:
    """The model's ONNX graph, with the weights of its products in 8-bit integers.

    Weights have seven bits and a scale for each channel. With eight, sums overflow on processors without VNNI, and
    vectors would differ from machine to machine.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter tells which branches of the model it follows
        plain, prepared, packed = (Path(name) / f"{step}.onnx" for step in ("plain", "prepared", "packed"))
        torch.onnx.export(
            _Whole(model).eval(),
            (torch.arange(1, 9)[None],),
            plain,
            input_names=["tokens"],
            output_names=["vectors"],
            dynamic_axes={"tokens": {0: "texts", 1: "length"}, "vectors": {0: "texts"}},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter takes one more package, and ten times as long
        )
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, packed, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        return packed.read_bytes()


def _keep(place: Path, graph: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=place.parent, delete=False) as partial:
        try:
            partial.write(graph)
            partial.close()
            Path(partial.name).replace(place)
        finally:
            Path(partial.name).unlink(missing_ok=True)
