"""`Bundle`: a whole chain but for the large model, in one folder that is verified when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableSerializable

from dsplus_chains.chain import data_shunt
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.gating.replaying import RecordedAnswer, replay
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError, brief_repr, place_of_secret, read_json, shorten, without_secrets
from dsplus_chains.scoring.ensemble import ModelName
from dsplus_chains.scoring.members.heads import HeadName
from dsplus_chains.scoring.record_start import InputKey
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.scoring.training_examples import read_inputs
from dsplus_chains.storage import bundle_files as files
from dsplus_chains.storage.bundle_examples import read_examples, write_examples
from dsplus_chains.storage.fitting_task import check_saves, fitting_task
from dsplus_chains.storage.hub import OnHub
from dsplus_chains.storage.origin import library_versions, provenance
from dsplus_chains.storage.stored_settings import StoredManifest
from dsplus_chains.task import LabelTask
from dsplus_chains.tuning.tuned import TunedThreshold


@brief_repr
@dataclass(frozen=True, kw_only=True, init=False)
class Bundle(OnHub):
    """A small model, its tuned threshold, and what the large model is asked. Only the large model is missing.

    Args:
        scorer: The small model.
        tuned: The threshold and what it was tuned on. None before tuning.
        task: What the large model is asked and how its answer is read, over the scorer's labels.
        large: Settings of the large model used for tuning, as plain data: its name, its server. No keys.
        metadata: Where the bundle comes from, as plain data. See `provenance`.
        **settings: Settings that replace those of the task.

    Raises:
        BundleError: `large` or `metadata` holds what looks like a secret, the task does not fit this scorer, or the
            scorer has no labels.

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
        if place := place_of_secret({"large": large or {}, "metadata": metadata or {}}):
            msg = f"Got a secret in {place} but a bundle is no place for secrets; give it to the chat model"
            raise BundleError(msg)
        task = fitting_task(scorer, task, settings)
        parts = {"scorer": scorer, "tuned": tuned, "task": task, "large": large or {}, "metadata": metadata or {}}
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @classmethod
    def fit(
        cls,
        texts: Sequence[Any],
        labels: Sequence[Any],
        *,
        modality: Modality = "text",
        encoder: str | Encoder | Embeddings = "auto",
        model: ModelName = "auto",
        head: HeadName = "mlp",
        copies: int = 1,
        keep_examples: bool = True,
        seed: int = 0,
        input_key: InputKey = "input",
        metadata: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """Fit a small model on labelled examples. Keep the examples, to show some to the large model.

        Args:
            texts: The examples: texts, pairs of texts, or images.
            labels: One label for each example.
            modality: What the examples are, "text" or "image".
            encoder: The encoder of the small model. See `SmallModelScorer.fit`, as the next three.
            model: The members of the small model.
            head: The network among its members.
            copies: Number of such networks.
            keep_examples: Whether the bundle keeps the texts, to show some to the large model. It keeps no images.
            seed: Seed of all random draws.
            input_key: The key of a dict under which the text will be, or the two keys of a pair.
            metadata: Where the examples come from, as plain data.
            **settings: Settings of the task. See `LabelTask`.

        Raises:
            TrainingDataError: The examples cannot train a classifier.
            BundleError: The settings do not fit these labels.
        """
        how: dict[str, Any] = {"modality": modality, "encoder": encoder, "model": model, "head": head}
        scorer = SmallModelScorer.fit(texts, labels, **how, copies=copies, seed=seed, input_key=input_key)
        rows = read_inputs(texts, modality=modality)
        if keep_examples and modality == "text":
            settings["examples"] = ExemplarSelector.fit(
                rows, labels, encoder=scorer.encoder, predictions=scorer.out_of_fold, vectors=scorer.example_vectors
            )
        told = provenance(rows, list(labels), seed=seed, **(metadata or {}))
        return cls(scorer=scorer, metadata=told, **settings)

    @property
    def threshold(self) -> Any:
        """The threshold of the chain.

        Raises:
            BundleError: The bundle has not been tuned.
        """
        return self.check_tuned().threshold

    def check_tuned(self) -> TunedThreshold:
        """The result of tuning.

        Raises:
            BundleError: It has not been tuned.
        """
        if self.tuned is None:
            msg = "Got a bundle that has no threshold yet; choose one with `dsplus tune`, or give threshold=..."
            raise BundleError(msg)
        return self.tuned

    @property
    def fusion(self) -> AnswerFusion | None:
        """What weighs both models' answers in the chain. None if the large model has the last word."""
        return None if self.tuned is None else self.tuned.fusion

    def with_tuned(self, tuned: TunedThreshold, *, large: Mapping[str, Any] | None = None) -> Self:
        """The same bundle with a threshold, and with the large model's settings if they are given."""
        return replace(self, tuned=tuned, large=self.large if large is None else dict(large))

    def with_task(self, **changes: Any) -> Self:
        """The same bundle with other settings of its task."""
        return replace(self, task=self.task.replace(**changes))

    def chain(self, large_model: Any, **overrides: Any) -> RunnableSerializable[Any, Any]:
        """The whole chain, with the tuned threshold, fusion and hints.

        Args:
            large_model: Any LangChain chat model.
            **overrides: Settings of the task (`hints`, `template`, …), and other arguments of `data_shunt`
                (`threshold`, `fusion`, `on_large_error`, …). A task's `group` has no effect with `timeout`, `deadline`,
                `breaker` or `budget`. Then rows are asked one by one.

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

    def replay(
        self,
        scored: Sequence[Mapping[str, Any]],
        answers: Sequence[RecordedAnswer],
        *,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """The records that the chain would return, had the large model given these answers.

        Args:
            scored: The records of the small model, one a row.
            answers: The large model's answers, one a row. See `evaluation.read_recorded`.
            return_exceptions: Give the error of a row that neither model answers, instead of raising it.

        Raises:
            BundleError: The bundle has not been tuned.
        """
        tuned = self.check_tuned()
        return replay(
            scored,
            answers,
            threshold=tuned.threshold,
            max_ood_score=tuned.max_ood_score,
            fusion=tuned.fusion,
            return_exceptions=return_exceptions,
        )

    def save(self, path: str | Path) -> str:
        """Write the bundle into a folder. A bundle that is already there is replaced.

        The bundle is written beside the folder and then moved. So neither an error nor a kill leaves half a bundle. An
        earlier bundle stays until the new one is complete. No pickle is written.

        Args:
            path: The folder.

        Returns:
            The SHA-256 of the manifest. Keep it elsewhere, and give it to `load` as `expected_sha256`.

        Raises:
            BundleError: The folder holds something else, the scorer cannot be saved without pickle, or the examples
                use another encoder than the scorer.
        """
        check_saves(self.scorer)
        settings = {**self.task.to_dict(), "large": dict(self.large)}
        del settings["labels"]  # the scorer holds them
        content = {"versions": library_versions(), "settings": settings, "metadata": dict(self.metadata)}
        with files.replacing(Path(path)) as folder:
            self.scorer.save(folder / files.SCORER)
            if self.task.examples is not None:
                write_examples(folder, self.task.examples, scorer=self.scorer)
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
        allow_download: bool = False,
    ) -> Self:
        """Read a bundle that `save` wrote. Every file is first compared with its SHA-256. Nothing is unpickled.

        The hashes are in the folder itself. So they show damage, but not an attack, because an attacker would write new
        ones. Against an attacker, keep what `save` returned elsewhere, and give it as `expected_sha256`. Without it,
        still no code of the bundle is run, and nothing is fetched. But its answers are those of whoever wrote it.

        Args:
            path: The folder.
            expected_sha256: SHA-256 of the manifest, `bundle.json`.
            encoder: The small model's encoder, or where it is now. None: where it was at fitting.
            device: The device of the encoder. None takes the best one available.
            allow_download: Whether an encoder that the bundle names may be fetched from the hub. Without it, the
                encoder is taken from this machine.

        Raises:
            BundleError: A file is missing, damaged, not listed, or no regular file. The format is another one. The
                manifest is not the expected one. The encoder is not the one that the small model was fitted with, or
                would have to be fetched.
        """
        folder = Path(path)
        manifest, contents = files.read_bundle(folder, expected_sha256=expected_sha256)
        try:
            told = StoredManifest.model_validate(manifest.content)
            settings_file, arrays_file = (contents[name] for name in files.SCORER_FILES)
            scorer = SmallModelScorer.of_files(
                settings_file, arrays_file, place=folder, encoder=encoder, device=device, allow_download=allow_download
            )
            tuned_text = contents.get(files.TUNED)
            tuned = None if tuned_text is None else TunedThreshold.from_dict(read_json(tuned_text))
            settings = dict(manifest.content["settings"])
            large = settings.pop("large")
            examples = read_examples(contents, scorer=scorer)
            task = LabelTask.from_dict({**settings, "labels": scorer.labels}, examples=examples)
            return cls(
                scorer=scorer, tuned=tuned, task=task, **without_secrets({"large": large, "metadata": told.metadata})
            )
        except BundleError:
            raise
        except Exception as error:  # somebody else may have written anything
            reason = shorten(f"{type(error).__name__}: {error}", 500)
            msg = f"Got the bundle {str(folder)!r}, which another version wrote ({reason}); fit it anew"
            raise BundleError(msg) from error
