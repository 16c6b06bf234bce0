"""`PipelineScorer` uses a text-classification pipeline of transformers as a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dsplus_chains.encoding.image_reading import picture_of
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.schema import (
    BundleError,
    InvalidInputError,
    Label,
    Prediction,
    brief,
    check_labels,
    each_once,
)
from dsplus_chains.scoring.estimator import read_table
from dsplus_chains.scoring.pipeline_folder import hash_of_folder, read_pipeline
from dsplus_chains.scoring.saved_place import SavedPlace, SavedScorer

TASKS: dict[Modality, tuple[str, ...]] = {
    "text": ("text-classification", "sentiment-analysis"),
    "image": ("image-classification",),
}
"""What a pipeline may be made for, by what it reads."""
LONGEST_WINDOW = 1_000_000
"""Larger than any model's window. A tokenizer without a limit reports a number beyond this."""


class PipelineScorer(SavedScorer):
    """Puts a classification pipeline of transformers in the place of `SmallModelScorer`, of texts or of images.

    It takes a text, or a dict that holds one. It returns the record with the pipeline's prediction. A batch is one call
    of the pipeline. A text beyond the model's window is cut off at its end. The probabilities are the model's softmax.
    It is often too sure of itself, so choose the threshold on data.

    Args:
        pipeline: The result of `transformers.pipeline("text-classification", model=...)`. With ``modality="image"`` it
            is that of "image-classification". Its model chooses one of at
            least two labels. A model that judges each label by itself (sigmoid, "multi-label") is refused.
        label_map: The label for each of the model's names, such as ``{"LABEL_0": "negative", "LABEL_1": "positive"}``.
            Names that map to one label add up their probabilities. A name that is not in the map stands for itself.
        batch_size: Number of texts that go through the model at a time.
        max_tokens: Number of tokens of a text that are read. None asks the tokenizer and the model.
        input_key: The key of a dict under which the text is.

    Raises:
        pydantic.ValidationError: It is no such pipeline. Or its model has one label, or predicts several labels for
            a text. Or `label_map` has a name that the model does not have.
        InvalidInputError: The scores are no probabilities (the pipeline has a `function_to_apply` of its own).

    Example:
        >>> from transformers import pipeline  # doctest: +SKIP
        >>> scorer = PipelineScorer(pipeline=pipeline("text-classification", model="a/model"))  # doctest: +SKIP
        >>> str(scorer.invoke("it broke at once")["prediction"])  # doctest: +SKIP
        'NEGATIVE (99 %)'
    """

    beside_the_folder: ClassVar[frozenset[str]] = SavedScorer.beside_the_folder | {
        "modality",
        "label_map",
        "batch_size",
        "max_tokens",
    }

    pipeline: Any
    label_map: Mapping[str, Label] | None = None
    batch_size: int = Field(default=32, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)

    _lock: ForkLock = PrivateAttr(default_factory=ForkLock)

    @model_validator(mode="after")
    def _is_one_label_a_text(self) -> Self:
        config = getattr(getattr(self.pipeline, "model", None), "config", None)
        tasks = TASKS[self.modality]
        task = getattr(self.pipeline, "task", None) or tasks[0]
        if not callable(self.pipeline) or not getattr(config, "id2label", None) or task not in tasks:
            what = f"{type(self.pipeline).__name__} (task {task!r})"
            msg = f"Got a {what} but expected what transformers.pipeline({tasks[0]!r}, model=...) returns"
            raise ValueError(msg)
        problem = getattr(config, "problem_type", None)
        if len(self._names) < 2 or problem in {"multi_label_classification", "regression"}:
            msg = (
                f"Got a model of {len(self._names)} labels with problem_type={problem!r}, whose scores are not the "
                "probabilities of one label or another; use one that chooses a single label of at least two"
            )
            raise ValueError(msg)
        check_labels(self._names)
        if unknown := [name for name in self.label_map or () if name not in self._names]:
            msg = f"Got a label_map with {unknown}, which are not among the model's names {brief(list(self._names))}"
            raise ValueError(msg)
        check_labels(each_once(self._mapped))
        return self

    @property
    def _names(self) -> tuple[str, ...]:
        """The model's own names, in the order of its outputs."""
        return tuple(name for _, name in sorted(self.pipeline.model.config.id2label.items()))

    @property
    def _mapped(self) -> tuple[Any, ...]:
        given = self.label_map or {}
        return tuple(given.get(name, name) for name in self._names)

    @property
    def labels(self) -> tuple[Any, ...]:
        """The labels, in the order of the model's outputs."""
        return tuple(dict.fromkeys(self._mapped))

    @override
    def _predict(self, texts: list[str]) -> list[Prediction]:
        with self._lock:  # fast tokenizers refuse to be used from two threads at once ("Already borrowed")
            if self.modality == "image":
                given, how = [picture_of(text) for text in texts], {"batch_size": self.batch_size}
                outputs = self.pipeline(given, top_k=len(self._names), **how)
            else:
                outputs = self.pipeline(texts, top_k=None, **self._reading)
        labels, names, mapped = self.labels, self._names, self._mapped
        table = np.zeros((len(outputs), len(labels)))
        for row, output in enumerate(outputs):
            scores = {entry["label"]: entry["score"] for entry in output}
            if set(scores) != set(names):
                msg = f"Got scores of {sorted(scores)[:10]} from the pipeline but expected one for each of {names[:10]}"
                raise InvalidInputError(msg)
            for name, label in zip(names, mapped, strict=True):
                table[row, labels.index(label)] += scores[name]
        return read_table(table, labels, n_texts=len(texts))

    @property
    def _reading(self) -> dict[str, Any]:
        """The settings for cutting and batching texts."""
        tokenizer = getattr(self.pipeline, "tokenizer", None)
        # Without a padding token, texts of different lengths do not fit into one tensor.
        reading: dict[str, Any] = {
            "batch_size": 1 if getattr(tokenizer, "pad_token_id", 0) is None else self.batch_size
        }
        window = self.max_tokens or _window(tokenizer, self.pipeline.model.config)
        return reading if window is None else {**reading, "truncation": True, "max_length": window}

    def save(self, path: str | Path) -> None:
        """Refuse to save, because the pipeline is not ours and transformers saves it well.

        Raises:
            BundleError: Always. It says what to do.
        """
        msg = (
            f"Got a pipeline of transformers to save in {str(path)!r}, which a scorer does not write. {self._advice()}"
        )
        raise BundleError(msg)

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None, **settings: Any) -> Self:
        """Read a pipeline that its own `save_pretrained` wrote. A chain with this scorer can be dumped.

        Nothing is fetched. Neither code nor pickles of the folder are read.

        Args:
            path: The folder.
            device: Device of the model. None takes the best one available.
            **settings: The fields of the scorer, such as `label_map`, and `modality` for images.

        Raises:
            BundleError: The folder holds no such pipeline, or one with pickled weights.
        """
        place = SavedPlace.of(Path(path), hash_of_folder(Path(path)))
        pipeline = read_pipeline(Path(path), modality=settings.get("modality", "text"), device=device)
        return cls(pipeline=pipeline, saved=place, **settings)

    @classmethod
    @override
    def _made_again(cls, place: SavedPlace, given: Mapping[str, Any]) -> dict[str, Any]:
        folder = Path(place.folder)
        place.check(hash_of_folder(folder))
        return {**given, "pipeline": read_pipeline(folder, modality=given.get("modality", "text"), device=None)}

    @override
    def _advice(self) -> str:
        return (
            "Write it with scorer.pipeline.save_pretrained(folder), and take the scorer that "
            "PipelineScorer.load(folder) reads"
        )


def _window(tokenizer: Any, config: Any) -> int | None:
    """Number of tokens that the model can read, if it is known."""
    told = getattr(tokenizer, "model_max_length", None)
    positions = getattr(config, "max_position_embeddings", None)
    limits = [limit for limit in (told, positions) if isinstance(limit, int) and 0 < limit < LONGEST_WINDOW]
    if not limits:
        return None
    # RoBERTa and similar models count positions from 2. Their tokenizers know that, but not every saved one reports it.
    return min(limits) if told in limits else max(1, limits[0] - 2)
