"""The demo's work from end to end: fit, tune, test. It prints nothing. `show` does that."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field

from dsplus_chains.demo.reviews import ReviewSentence, split_by_review
from dsplus_chains.demo.sentiment import large_arm, pick_examples, sentiment_prompt
from dsplus_chains.encoding.encoder import Encoder
from dsplus_chains.evaluation.evaluation import Evaluation
from dsplus_chains.evaluation.measure import evaluate
from dsplus_chains.gating.branch import ConfidenceBranch
from dsplus_chains.schema import ShuntRecord
from dsplus_chains.scoring.small_model import SmallModelScorer
from dsplus_chains.tuning.threshold_tuning import tune_threshold
from dsplus_chains.tuning.tuned import TunedThreshold

Track: TypeAlias = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""A function that wraps an iterable of a known length in a progress bar with a title."""


class DemoSettings(BaseModel):
    """Sizes of the demo, as numbers of sentences.

    Args:
        train: Labelled sentences that the small model learns from.
        tune: Labelled sentences that the threshold is chosen on.
        test: Sentences that everything is counted on.
        prior: Sentences out of `train`, used without labels. The large model's preference for a label is measured on
            them.
        seed: The same seed gives the same numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(default=60, ge=20)
    tune: int = Field(default=100, ge=20)
    test: int = Field(default=240, ge=20)
    prior: int = Field(default=20, ge=4)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DemoOutcome:
    """The result of the demo.

    Args:
        settings: The sizes of the demo.
        evaluation: The chain on the test sentences, beside the baselines.
        tuned: The threshold, and what it was chosen on.
        seconds: Wall-clock time in seconds, over all test sentences. "always_small" is the time of scoring,
            "always_large" of asking the large model for everything, and "dsplus" of the chain.
    """

    settings: DemoSettings
    evaluation: Evaluation
    tuned: TunedThreshold
    seconds: dict[str, float]


def run_demo(
    sentences: Sequence[ReviewSentence],
    large_model: BaseChatModel,
    settings: DemoSettings,
    *,
    encoder: str | Encoder = "auto",
    track: Track = lambda rows, _title, _total: rows,
) -> DemoOutcome:
    """Fit a small model, choose a threshold, and measure the chain on held-out reviews.

    Training, tuning and test sentences come from different reviews.

    Args:
        sentences: All sentences.
        large_model: Any LangChain chat model.
        settings: The sizes of the demo.
        encoder: The small model's encoder.
        track: A function that shows progress.
    """
    train, tune, test = draw(sentences, settings)
    scorer = SmallModelScorer.fit([s.text for s in train], [s.label for s in train], encoder=encoder)
    scored = {name: scorer.batch([s.text for s in part]) for name, part in (("train", train), ("tune", tune))}

    shown = pick_examples(train)
    examples = list(zip(scorer.batch([s.text for s in shown]), [s.label for s in shown], strict=True))
    prior = scored["train"][: settings.prior]
    hinted = large_arm(large_model, sentiment_prompt(examples, hints="soft"), prior)
    plain = large_arm(large_model, sentiment_prompt(examples, hints="none"), prior)

    asked = _ask(hinted, scored["tune"], track, "asking the large model about the tuning sentences")
    tuned = tune_threshold(
        [record["prediction"] for record in scored["tune"]],
        [s.label for s in tune],
        [record["answer"] if record["source"] == "large" else None for record in asked],
    )

    texts, labels = [s.text for s in test], [s.label for s in test]
    started = time.perf_counter()
    records = scorer.batch(texts)
    scoring = time.perf_counter() - started
    started = time.perf_counter()
    alone = _ask(plain, records, track, "always large")
    always_large = time.perf_counter() - started
    chain = ConfidenceBranch(large=hinted, threshold=tuned.threshold)
    started = time.perf_counter()
    results = [chain.invoke(record) for record in track(records, "DS+", len(records))]
    dsplus = scoring + time.perf_counter() - started
    return DemoOutcome(
        settings=settings,
        evaluation=evaluate(
            results,
            labels,
            large_answers=[record["answer"] if record["source"] == "large" else None for record in alone],
            large_usage=[record["large"].usage for record in alone],
            threshold=tuned.threshold,
        ),
        tuned=tuned,
        seconds={"always_small": scoring, "always_large": always_large, "dsplus": dsplus},
    )


def draw(
    sentences: Sequence[ReviewSentence], settings: DemoSettings
) -> tuple[list[ReviewSentence], list[ReviewSentence], list[ReviewSentence]]:
    """Training, tuning and test sentences. No review is in two of these parts."""
    outer = split_by_review(sentences, seed=settings.seed)
    inner = split_by_review(outer.train, test_share=0.4, seed=settings.seed)
    generator = random.Random(settings.seed)  # noqa: S311  a draw, not a secret
    wanted = ((inner.train, settings.train), (inner.test, settings.tune), (outer.test, settings.test))
    drawn = []
    for part, number in wanted:
        if number > len(part):
            msg = f"Got {number} sentences to draw from a part that has {len(part)}; ask for fewer"
            raise ValueError(msg)
        drawn.append(generator.sample(part, number))
    return drawn[0], drawn[1], drawn[2]


def _ask(arm: Runnable[Any, Any], records: Sequence[ShuntRecord], track: Track, title: str) -> list[Any]:
    """Put every record through the large arm, one at a time so that progress shows. Failures become fallbacks."""
    branch = ConfidenceBranch(large=arm, threshold=None)
    return [branch.invoke(record) for record in track(records, title, len(records))]
