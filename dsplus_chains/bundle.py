"""`Bundle`: everything that rebuilds a chain but the large model, as one folder that is verified when it is read."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableSerializable

from dsplus_chains import _bundle_files as files
from dsplus_chains._bundle_examples import read_examples, write_examples
from dsplus_chains.encoding.base import Encoder
from dsplus_chains.gating.fusion import AnswerFusion
from dsplus_chains.prompting.exemplars import ExemplarSelector
from dsplus_chains.schema import BundleError
from dsplus_chains.scoring.scorer import SmallModelScorer
from dsplus_chains.shunt import data_shunt
from dsplus_chains.tuning.result import TunedThreshold

INSTRUCTION = "Decide which of the labels fits the input best."
"""What the large model is told to do, where nobody said anything better."""

_LIBRARIES = (
    "dsplus-chains",
    "faiss-cpu",
    "langchain-core",
    "numpy",
    "safetensors",
    "scikit-learn",
    "sentence-transformers",
    "torch",
)
_SECRETS = ("api_key", "apikey", "secret", "password", "authorization")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A small model, the threshold it was tuned to, and what the large model is asked: a chain but for one part.

    Args:
        scorer: The small model.
        tuned: The threshold and what it was tuned on; None before tuning.
        instruction: What to decide, in your words.
        descriptions: What a label means, by label.
        aliases: Further writings of labels that the large model may use.
        hints: What the large model is told of the small one's view.
        top_k: How many labels a hint names at most.
        strong_labels: With ``hints="hard"``: offer all labels but these; then `tuned.set_level` is not used.
        exemplars: How many solved examples the large model is shown for each input; 0 shows none, whatever there are.
        examples: Where they are found: training examples, with the small model's view of each.
        structured: Ask for the label as structured output, if the large model has it.
        retries: 1 asks once more where the answer is no label; 0 takes the first answer as it is.
        reask: With ``hints="hard"``: ask again, over all labels, where the answer is "none of these".
        large: Settings of the large model that it was tuned with, as plain data: its name, its server. No keys.
        metadata: Where it comes from, as plain data; see `provenance`.

    Raises:
        BundleError: `large` holds what looks like a secret, or there are exemplars to show but no examples.

    Example:
        >>> bundle = Bundle(scorer=scorer, instruction="Which intent is it?")  # doctest: +SKIP
        >>> pin = bundle.save("intents")  # doctest: +SKIP
        >>> Bundle.load("intents", expected_sha256=pin).scorer.labels  # doctest: +SKIP
        ('card_lost', 'top_up')
    """

    scorer: SmallModelScorer
    tuned: TunedThreshold | None = None
    instruction: str = INSTRUCTION
    descriptions: Mapping[Any, str] | None = None
    aliases: Mapping[str, Any] | None = None
    hints: Literal["none", "soft", "hard"] = "soft"
    top_k: int = 5
    strong_labels: tuple[Any, ...] | None = None
    exemplars: int = 0
    examples: ExemplarSelector | None = None
    structured: bool = False
    retries: Literal[0, 1] = 1
    reask: bool = False
    large: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if found := [name for name in self.large if any(secret in name.lower() for secret in _SECRETS)]:
            msg = f"Got large={{{found[0]!r}: …}} but a bundle is no place for secrets; give it to the chat model"
            raise BundleError(msg)
        if self.exemplars and self.examples is None:
            msg = f"Got exemplars={self.exemplars} but no examples to show; give examples=ExemplarSelector.fit(...)"
            raise BundleError(msg)

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

    @property
    def selector(self) -> ExemplarSelector | None:
        """What finds the examples to be shown; None where none are."""
        return replace(self.examples, k=self.exemplars) if self.examples is not None and self.exemplars else None

    def with_tuned(self, tuned: TunedThreshold, *, large: Mapping[str, Any] | None = None) -> Self:
        """The same bundle with a threshold, and with the large model's settings if they are given."""
        return replace(self, tuned=tuned, large=self.large if large is None else dict(large))

    def chain(self, large_model: Any, **overrides: Any) -> RunnableSerializable[Any, Any]:
        """The whole chain, at the tuned threshold, with the fusion and the hints that were tuned with it.

        Args:
            large_model: Any LangChain chat model.
            **overrides: Whatever else `data_shunt` is to be given: `threshold`, `hints`, `fusion`, `template`, …

        Raises:
            BundleError: The bundle has not been tuned, and no `threshold` is given.
        """
        settings: dict[str, Any] = {
            "instruction": self.instruction,
            "descriptions": self.descriptions,
            "aliases": self.aliases,
            "hints": self.hints,
            "top_k": self.top_k,
            "strong_labels": self.strong_labels,
            "exemplars": self.selector,
            "structured": self.structured,
            "retries": self.retries,
            "reask": self.reask,
            **overrides,
        }
        if "threshold" not in settings:
            settings["threshold"] = self.threshold
        if self.tuned is not None:
            tuned = {name: getattr(self.tuned, name) for name in ("fusion", "set_level", "max_ood_score")}
            if settings["strong_labels"] is not None:
                del tuned["set_level"]  # labels are pruned one way or the other
            settings = {**tuned, **settings}
        return data_shunt(self.scorer, large_model, **settings)

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
        settings = {
            "instruction": self.instruction,
            "descriptions": files.pairs(self.descriptions),
            "aliases": files.pairs(self.aliases),
            "hints": self.hints,
            "top_k": self.top_k,
            "strong_labels": None if self.strong_labels is None else list(self.strong_labels),
            "exemplars": self.exemplars,
            "structured": self.structured,
            "retries": self.retries,
            "reask": self.reask,
            "large": dict(self.large),
        }
        content = {"versions": library_versions(), "settings": settings, "metadata": dict(self.metadata)}
        with files.replacing(Path(path)) as folder:
            self.scorer.save(folder / files.SCORER)
            if self.examples is not None:
                write_examples(folder / files.EXAMPLES, self.examples, scorer=self.scorer)
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
            settings["descriptions"] = files.mapping(settings["descriptions"])
            settings["aliases"] = files.mapping(settings["aliases"])
            if settings.get("strong_labels") is not None:
                settings["strong_labels"] = tuple(settings["strong_labels"])
            examples = read_examples(folder / files.EXAMPLES, encoder=scorer.encoder, known=scorer.example_vectors)
            metadata = manifest.content["metadata"]
            return cls(scorer=scorer, tuned=tuned, examples=examples, metadata=metadata, **settings)
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            msg = f"Got the bundle {str(folder)!r}, which another version wrote ({reason}); fit it anew"
            raise BundleError(msg) from error


def provenance(texts: list[str], labels: list[Any], **more: Any) -> dict[str, Any]:
    """Where a small model comes from, for `Bundle.metadata`: when, on how many rows, and a hash of them.

    Args:
        texts: The training texts.
        labels: Their labels.
        **more: Further plain data, such as the seed.

    Example:
        >>> found = provenance(["a", "b"], ["x", "y"], seed=0)
        >>> found["rows"], found["labels"], found["seed"]
        (2, 2, 0)
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": len(texts),
        "labels": len(set(labels)),
        "data_sha256": files.hash_of([texts, labels]),
        **more,
    }


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a bundle depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
