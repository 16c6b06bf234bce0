"""The solved examples of a bundle, as JSON and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.prompting.exemplar import Exemplar
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError, Prediction
from dsplus_chains.scoring.small_model import SmallModelScorer

ROWS, VECTORS = "examples.json", "vectors.safetensors"
SETTINGS = ("k", "diversity", "per_label", "input_key")
"""The settings that say how examples are chosen. They are written as they are."""
ALIKE = 0.99
"""Lowest cosine at which two vectors of a text count as those of one encoder. It allows for rounding."""


def write_examples(folder: Path, examples: ExemplarSelector, *, scorer: SmallModelScorer) -> None:
    """Write the texts, the labels and the small model's view of examples into a new folder.

    Only the label and the confidence of that view are kept. A prompt shows nothing else of it.

    Args:
        folder: The folder. It is made.
        examples: The examples to write.
        scorer: The small model. Its encoder will search the examples. Vectors that it keeps are not written again.

    Raises:
        BundleError: The examples use another encoder.
    """
    _check_encoder(examples, scorer.encoder)
    known = scorer.example_vectors
    folder.mkdir()
    rows = [[example.input, example.label, *_view(example.prediction)] for example in examples.exemplars]
    settings = {**{name: getattr(examples, name) for name in SETTINGS}, "rows": rows}
    (folder / ROWS).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    if known is None or not np.array_equal(known, examples.vectors):
        (folder / VECTORS).write_bytes(save({"vectors": np.ascontiguousarray(examples.vectors)}))


def read_examples(folder: Path, *, encoder: Encoder, known: NDArray[np.float32] | None) -> ExemplarSelector | None:
    """Read what `write_examples` wrote. None if there is nothing.

    Args:
        folder: The folder.
        encoder: What turns texts into vectors.
        known: The vectors that the small model keeps.

    Raises:
        KeyError: A field is missing.
        ValueError: The rows are not JSON, or do not fit the vectors.
    """
    if not (folder / ROWS).is_file():
        return None
    settings = json.loads((folder / ROWS).read_text(encoding="utf-8"))
    exemplars = [
        Exemplar(input=text, label=label, prediction=Prediction(label=view[0], confidence=view[1]) if view else None)
        for text, label, *view in settings["rows"]
    ]
    own = folder / VECTORS
    vectors = load(own.read_bytes())["vectors"] if own.is_file() else known
    return ExemplarSelector(
        encoder=encoder,
        exemplars=tuple(exemplars),
        vectors=np.empty((0, 0), dtype=np.float32) if vectors is None else vectors,
        **{name: settings[name] for name in SETTINGS},
    )


def _check_encoder(examples: ExemplarSelector, encoder: Encoder) -> None:
    """Refuse another encoder. The bundle could not keep it, and would find other examples once loaded."""
    if examples.encoder is encoder:
        return
    own, other = examples.vectors[0], encoder.encode([examples.exemplars[0].input])[0]
    if own.shape != other.shape or own @ other < ALIKE * np.linalg.norm(own) * np.linalg.norm(other):
        msg = (
            f"Got examples that are found by the encoder {examples.encoder.name!r}, but a bundle holds that of its "
            f"scorer alone, {encoder.name!r}; fit them with encoder=scorer.encoder"
        )
        raise BundleError(msg)


def _view(prediction: Prediction | None) -> list[Any]:
    return [] if prediction is None else [prediction.label, prediction.confidence]
