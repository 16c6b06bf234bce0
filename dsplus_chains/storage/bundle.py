"""`Bundle`: everything that rebuilds a chain but the large model, as one folder that is verified when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableSerializable
from pydantic import ValidationError

from dsplus_chains.chain import data_shunt
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.gating.replaying import RecordedAnswer, replay
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.storage import bundle_files as files
from dsplus_chains.storage.bundle_examples import read_examples, write_examples
from dsplus_chains.storage.origin import library_versions, provenance
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.tuned import TunedThreshold

_SECRETS = ("api_key", "apikey", "secret", "password", "authorization")


@dataclass(frozen=True, kw_only=True, init=False)
class Bundle:
    """A small model, the threshold it was tuned to, and what the large model is asked: a chain but for one part.

    Args:
        scorer: The small model.
        tuned: The threshold and what it was tuned on; None before tuning.
        task: What the large model is asked and how its answer is read, over the scorer's labels.
        large: Settings of the large model that it was tuned with, as plain data: its name, its server. No keys.
        metadata: Where it comes from, as plain data; see `provenance`.
        **settings: Settings of the task, in place of its own.

    Raises:
        BundleError: `large` holds what looks like a secret, or the task is none for this scorer.

    Example:
        >>> bundle = Bundle(scorer=scorer, instruction="Which intent is it?")  # doctest: +SKIP
        >>> pin = bundle.save("intents")  # doctest: +SKIP
        >>> Bundle.load("intents", expected_sha256=pin).scorer.labels  # doctest: +SKIP
        ('card_lost', 'top_up')
    """

    scorer: SmallModelScorer
    tuned: TunedThreshold | None
    task: LabelTask
    large: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def __init__(
        self,
        *,
        scorer: SmallModelScorer,
        tuned: TunedThreshold | None = None,
        task: LabelTask | None = None,
        large: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if found := [name for name in large or () if any(secret in name.lower() for secret in _SECRETS)]:
            msg = f"Got large={{{found[0]!r}: …}} but a bundle is no place for secrets; give it to the chat model"
            raise BundleError(msg)
        if task is not None and task.labels != scorer.labels:
            msg = f"Got a task of the labels {list(task.labels)[:10]} but expected {list(scorer.labels)[:10]}"
            raise BundleError(msg)
        try:
            task = LabelTask(labels=scorer.labels, **settings) if task is None else task.replace(**settings)
        except ValidationError as error:
            raise BundleError(str(error)) from error
        parts = {"scorer": scorer, "tuned": tuned, "task": task, "large": large or {}, "metadata": metadata or {}}
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        encoder: str | Encoder | Embeddings = "auto",
        keep_examples: bool = True,
        seed: int = 0,
        metadata: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """Fit a small model on labelled examples, and keep them to be shown to the large model.

        Args:
            texts: The examples.
            labels: As many labels.
            encoder: The small model's; see `SmallModelScorer.fit`.
            keep_examples: Whether the texts are kept in the bundle, so that the large model can be shown some.
            seed: Seed of whatever is drawn at random.
            metadata: Where the examples come from, as plain data.
            **settings: Settings of the task; see `LabelTask`.

        Raises:
            TrainingDataError: The examples cannot train a classifier.
            BundleError: The settings make no task for these labels.
        """
        scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, seed=seed)
        if keep_examples:
            settings["examples"] = ExemplarSelector.fit(
                texts,
                labels,
                encoder=scorer.encoder,
                predictions=scorer.out_of_fold,
                vectors=scorer.example_vectors,
            )
        told = provenance(list(texts), list(labels), seed=seed, **(metadata or {}))
        return cls(scorer=scorer, metadata=told, **settings)

    @property
    def threshold(self) -> Any:
        """What the chain keeps answers by.

        Raises:
            BundleError: The bundle has not been tuned.
        """
        return self.check_tuned().threshold

    def check_tuned(self) -> TunedThreshold:
        """What the bundle was tuned to.

        Raises:
            BundleError: It has not been tuned.
        """
        if self.tuned is None:
            msg = "Got a bundle that has no threshold yet; choose one with `dsplus tune`, or give threshold=..."
            raise BundleError(msg)
        return self.tuned

    @property
    def fusion(self) -> AnswerFusion | None:
        """What weighs both models' answers in the chain; None where the large model's is the last word."""
        return None if self.tuned is None else self.tuned.fusion

    def with_tuned(self, tuned: TunedThreshold, *, large: Mapping[str, Any] | None = None) -> Self:
        """The same bundle with a threshold, and with the large model's settings if they are given."""
        return replace(self, tuned=tuned, large=self.large if large is None else dict(large))

    def with_task(self, **changes: Any) -> Self:
        """The same bundle with other settings of its task."""
        return replace(self, task=self.task.replace(**changes))

    def chain(self, large_model: Any, **overrides: Any) -> RunnableSerializable[Any, Any]:
        """The whole chain, at the tuned threshold, with the fusion and the hints that were tuned with it.

        Args:
            large_model: Any LangChain chat model.
            **overrides: Settings of the task (`hints`, `template`, …), and whatever else `data_shunt` is to be given:
                `threshold`, `fusion`, `on_large_error`, …

        Raises:
            BundleError: The bundle has not been tuned, and no `threshold` is given.
        """
        wiring = {name: value for name, value in overrides.items() if name not in LabelTask.model_fields}
        task = self.task.replace(**{name: value for name, value in overrides.items() if name not in wiring})
        tuned = self.tuned
        if tuned is not None:
            wiring = {"fusion": tuned.fusion, "max_ood_score": tuned.max_ood_score, **wiring}
            if task.strong_labels is None and "set_level" not in overrides:  # labels are pruned one way or the other
                task = task.replace(set_level=tuned.set_level)
        if "threshold" not in wiring:
            wiring["threshold"] = self.threshold
        return data_shunt(self.scorer, large_model, task=task, **wiring)

    def replay(self, scored: Sequence[Mapping[str, Any]], answers: Sequence[RecordedAnswer]) -> list[dict[str, Any]]:
        """The records that the chain would return, had the large model given these answers.

        Args:
            scored: The records of the small model, one a row.
            answers: The large model's, one a row; see `evaluation.read_recorded`.

        Raises:
            BundleError: The bundle has not been tuned.
        """
        tuned = self.check_tuned()
        return replay(
            scored, answers, threshold=tuned.threshold, max_ood_score=tuned.max_ood_score, fusion=tuned.fusion
        )

    def save(self, path: str | Path) -> str:
        """Write the bundle into a folder, in place of a bundle that is already there.

        It is written beside the place and then moved there, so that neither an error nor a kill leaves a half-written
        bundle: an earlier one stands until the new one is complete. No pickle is written.

        Args:
            path: The folder.

        Returns:
            The SHA-256 of the manifest, to be kept elsewhere and given to `load` as `expected_sha256`.

        Raises:
            BundleError: The folder holds something else, the scorer cannot be saved without pickle, or the examples
                are found by another encoder than the scorer's.
        """
        settings = {**self.task.to_dict(), "large": dict(self.large)}
        del settings["labels"]  # which are the scorer's
        content = {"versions": library_versions(), "settings": settings, "metadata": dict(self.metadata)}
        with files.replacing(Path(path)) as folder:
            self.scorer.save(folder / files.SCORER)
            if self.task.examples is not None:
                write_examples(folder / files.EXAMPLES, self.task.examples, scorer=self.scorer)
            if self.tuned is not None:
                (folder / files.TUNED).write_text(self.tuned.to_json() + "\n", encoding="utf-8")
            return files.write_manifest(folder, content)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        expected_sha256: str | None = None,
        encoder: str | Encoder | Embeddings | None = None,
        device: str | None = None,
    ) -> Self:
        """Read a bundle that `save` wrote; every file is compared with its SHA-256 first, and nothing is unpickled.

        The hashes are in the folder itself, so they tell damage, not an attacker, who would write new ones. Against
        an attacker keep what `save` returned somewhere else, and give it as `expected_sha256`.

        Args:
            path: The folder.
            expected_sha256: SHA-256 of the manifest, `bundle.json`.
            encoder: Where the small model's encoder is now, if not where it was when it was fitted.
            device: Where it runs; None takes the best there is.

        Raises:
            BundleError: A file is missing, damaged or not listed, the format is another, the manifest is not the
                expected one, or the encoder is not the one that the small model was fitted with.
        """
        folder = Path(path)
        manifest = files.read_manifest(folder, expected_sha256=expected_sha256)
        tuned_text = files.verify(folder, manifest)
        try:
            scorer = SmallModelScorer.load(folder / files.SCORER, encoder=encoder, device=device)
            tuned = None if tuned_text is None else TunedThreshold.from_dict(files.parse(tuned_text))
            settings = dict(manifest.content["settings"])
            examples = read_examples(folder / files.EXAMPLES, encoder=scorer.encoder, known=scorer.example_vectors)
            large, metadata = settings.pop("large"), manifest.content["metadata"]
            task = LabelTask.from_dict({**settings, "labels": scorer.labels}, examples=examples)
            return cls(scorer=scorer, tuned=tuned, task=task, large=large, metadata=metadata)
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            msg = f"Got the bundle {str(folder)!r}, which another version wrote ({reason}); fit it anew"
            raise BundleError(msg) from error
