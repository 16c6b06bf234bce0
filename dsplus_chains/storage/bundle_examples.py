"""The solved examples of a bundle, as JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.prompting.exemplar import Exemplar
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError, Prediction, read_json, shown
from dsplus_chains.scoring.members.stored_arrays import StoredArrays
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage.bundle_files import EXAMPLES, ROWS, VECTORS
from dsplus_chains.storage.stored_settings import StoredExamples

SETTINGS = ("k", "diversity", "per_label", "input_key")
"""The settings that say how examples are chosen. They are written as they are."""
ALIKE = 0.99
"""Lowest cosine at which two vectors of a text count as those of one encoder. It allows for rounding."""


def write_examples(folder: Path, examples: ExemplarSelector, *, scorer: SmallModelScorer) -> None:
    """Write the texts, the labels and the small model's view of examples into a bundle.

    Only the label and the confidence of that view are kept. A prompt shows nothing else of it.

    Args:
        folder: The folder of the bundle.
        examples: The examples to write.
        scorer: The small model. Its encoder will search the examples. Vectors that it keeps are not written again.

    Raises:
        BundleError: The examples use another encoder.
    """
    _check_encoder(examples, scorer.encoder)
    known = scorer.example_vectors
    (folder / EXAMPLES).mkdir()
    rows = [[example.input, example.label, *_view(example.prediction)] for example in examples.exemplars]
    settings = {**{name: getattr(examples, name) for name in SETTINGS}, "rows": rows}
    (folder / ROWS).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    if known is None or not np.array_equal(known, examples.vectors):
        (folder / VECTORS).write_bytes(save({"vectors": np.ascontiguousarray(examples.vectors)}))


def read_examples(contents: Mapping[str, bytes], *, scorer: SmallModelScorer) -> ExemplarSelector | None:
    """Read what `write_examples` wrote. None if there is nothing.

    Args:
        contents: The content of the files, by name.
        scorer: The small model. Its encoder will search the examples. It may keep their vectors.

    Raises:
        BundleError: A vector is missing, or another one.
        ValueError: A row is no example of this task.
    """
    if ROWS not in contents:
        return None
    settings = StoredExamples.model_validate(read_json(contents[ROWS]))
    exemplars = tuple(_exemplar(row, scorer.labels) for row in settings.rows)
    vectors = scorer.example_vectors
    if VECTORS in contents:
        width = scorer.classifier.probe().shape[0]
        stored = StoredArrays(arrays=load(contents[VECTORS]), n_classes=len(scorer.labels), width=width)
        vectors = stored.floats("vectors", (len(exemplars), width))
    return ExemplarSelector(
        encoder=scorer.encoder,
        exemplars=exemplars,
        vectors=np.empty((0, 0), dtype=np.float32) if vectors is None else vectors,
        **{name: getattr(settings, name) for name in SETTINGS},
    )


def _exemplar(row: list[Any], labels: Sequence[Any]) -> Exemplar:
    """One example, whose text is a text, and whose label is of the task's type.

    Raises:
        ValueError: It is none.
    """
    text, label, *view = row
    if not isinstance(text, str) or type(label) is not type(labels[0]) or len(view) == 1:
        msg = f"Got the example {shown(row)} but expected [text, label], or also the small model's label and confidence"
        raise ValueError(msg)
    return Exemplar(input=text, label=label, prediction=Prediction(label=view[0], confidence=view[1]) if view else None)


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
