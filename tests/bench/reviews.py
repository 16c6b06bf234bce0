"""Measures what hints and fusion are worth on reviews: the chain against the large model alone, with a live model.

    python tests/bench/reviews.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers answers.sqlite

The rows (`text,label`) are split once: 1,600 to fit the small model on (linear heads on the hidden states of
SmolLM2-135M and of what `--small` names, words, neighbours), 300 to tune on, 2,000 to count on. The rows that were
fitted on are tuned on too, by their out-of-fold predictions: 300 alone place a threshold poorly. The large model alone
gets the same instruction without hints. The arrow is at the way to take by the rows tuned on: whether both models'
words are weighed is what `fusion="auto"` says, and of the prompts it is the one that did best. Every answer is kept in
a file, so a second run asks for nothing.

With `--splits 10` the rows are split ten times, from `--seed` on, and two more tables tell of the way with the arrow in
each, and of all ways on average. `--without-hints` leaves out the ways with hints, which have to be asked about anew in
each split.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from langchain_core.runnables import Runnable
from live import answers, arguments, chat_model, in_slices, small_encoder, spent, split_rows, versus
from remembering import Remembering
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, HintPromptBuilder, LabelParser, SmallModelScorer, tune_threshold
from dsplus_chains.tuning.fused import FusionMode
from dsplus_chains.tuning.tuned import TunedThreshold

INSTRUCTION = "What is the sentiment of this product review?"
PROMPT = "Review: {text}\nQuestion: What is the sentiment of this product review, negative or positive?"
REPLY_BEGINS = "The sentiment is"
"""What the small language models read; not the answer that one would give is taken, but what it holds ready."""
SIZES = (1600, 300, 2000)
BUDGET = 0.28
"""Of the large model's tokens on the rows tuned on. The paper spent 0.31; new rows may cost more than these."""
ASKED = 0.4
"""The large model is asked about that share of the rows fitted on, the least sure: more than could be deferred."""


class Way(NamedTuple):
    """A way to use both models."""

    name: str
    hints: Literal["none", "soft"]
    fusion: FusionMode


WAYS = (
    Way("hints, fused", "soft", "posterior"),
    Way("hints, replaced", "soft", "replace"),
    Way("fused", "none", "posterior"),
    Way("replaced", "none", "replace"),
)
CHOSEN = "→"
"""The way to take by the rows tuned on."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a way came to on test rows.

    Args:
        way: Its name.
        right: Whether each row was answered right.
        large_right: Whether the large model alone answered it right.
        tokens: Of the large model, as a share of what it takes alone.
    """

    way: str
    right: list[bool]
    large_right: list[bool]
    tokens: float

    @property
    def gain(self) -> float:
        """How much more is right than with the large model alone."""
        return float(np.mean(self.right) - np.mean(self.large_right))


def measure(options: argparse.Namespace, encoder: Remembering, seed: int) -> dict[str, Counted]:
    """Fit, tune and count on one split, and print its table; what each way came to, that of `CHOSEN` twice."""
    parts = split_rows(options.reviews, SIZES, seed)
    (texts, labels), (tune_texts, tune_labels), (test_texts, truth) = (
        ([row["text"] for row in part], [row["label"] for row in part]) for part in parts
    )
    names = sorted(set(labels))
    ask = chat_model(options, max_tokens=8, logprobs=True) | LabelParser(labels=names)
    scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, seed=seed)
    ways = [way for way in WAYS if way.hints == "none" or not options.without_hints]
    prompts = {
        hints: HintPromptBuilder(
            labels=names,
            instruction=INSTRUCTION,
            hints=hints,
            track_record=scorer.track_record if hints == "soft" else None,
        )
        for hints in sorted({way.hints for way in ways})
    }

    tuning = scorer.batch(tune_texts)
    fitted = sorted(zip(texts, scorer.out_of_fold or [], labels, strict=True), key=lambda row: row[1].confidence or 0.0)
    rows = [*tuning, *({"input": text, "prediction": prediction} for text, prediction, _ in fitted)]
    row_labels = [*tune_labels, *(label for _, _, label in fitted)]
    asked = len(tuning) + round(ASKED * len(fitted))
    told = {
        hints: in_slices(ConfidenceBranch(large=prompt | ask, threshold=None), rows[:asked], f"tuning, hints {hints}")
        for hints, prompt in prompts.items()
    }

    records = scorer.batch(test_texts)
    everything = ConfidenceBranch(large=prompts["none"] | ask, threshold=None)
    alone = in_slices(everything, records, "test, large model alone")
    large_right = [r["source"] == "large" and r["answer"] == label for r, label in zip(alone, truth, strict=True)]
    small_right = [r["prediction"].label == label for r, label in zip(records, truth, strict=True)]

    table = Table(title=f"{len(truth)} test reviews, {options.model}, seed {seed}")
    for heading in ("", "right", "against the large model alone (95 %), better : worse", "deferred", "tokens"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("small model alone", f"{np.mean(small_right):.2%}", versus(small_right, large_right), "0.0%", "0.0%")
    table.add_row("large model alone", f"{np.mean(large_right):.2%}", "", "100.0%", f"{spent(alone):,}")

    def tuned_on(hints: Literal["none", "soft"], fusion: FusionMode) -> TunedThreshold:
        said, sure = answers(told[hints])
        costs: list[float] = [spent([record]) for record in told[hints]]
        unasked = [None] * (len(rows) - asked)
        return tune_threshold(
            [record["prediction"] for record in rows],
            row_labels,
            [*said, *unasked],
            objective="max_cost",
            large_cost=[*costs, *(float(np.mean(costs)) for _ in unasked)],
            max_cost=BUDGET * spent(told["none"][: len(tuning)]) / len(tuning),
            fusion=fusion,
            large_confidences=[*sure, *unasked],
        )

    found = {way: tuned_on(way.hints, way.fusion) for way in ways}
    weighs = {hints: tuned_on(hints, "auto").fusion is not None for hints in prompts}
    taken = [way for way in ways if weighs[way.hints] == (way.fusion == "posterior")]
    best = max(taken, key=lambda way: (found[way].chain_accuracy.value, -found[way].cost))
    small = Counted(way="small model alone", right=small_right, large_right=large_right, tokens=0.0)
    large = Counted(way="large model alone", right=large_right, large_right=large_right, tokens=1.0)
    counted = {one.way: one for one in (small, large)}
    for way, tuned in found.items():
        branch = ConfidenceBranch(large=prompts[way.hints] | ask, threshold=tuned.threshold)
        chain: Runnable[Any, Any] = branch if tuned.fusion is None else branch | tuned.fusion
        answered = in_slices(chain, records, way.name)
        right = [record["answer"] == label for record, label in zip(answered, truth, strict=True)]
        tokens = spent(answered) / spent(alone)
        table.add_row(
            f"{CHOSEN} {way.name}" if way is best else way.name,
            f"{np.mean(right):.2%}",
            versus(right, large_right),
            f"{np.mean([record['source'] != 'small' for record in answered]):.1%}",
            f"{tokens:.1%}",
        )
        counted[way.name] = Counted(way=way.name, right=right, large_right=large_right, tokens=tokens)
    Console().print(scorer.summary)
    Console(width=140).print(table)
    return {**counted, CHOSEN: counted[best.name]}


def chosen(splits: dict[int, dict[str, Counted]]) -> Table:
    """What the way with the arrow came to in each split."""
    table = Table(title="The way to take by the rows tuned on")
    for heading in ("seed", "way", "right", "large alone", "difference (95 %), better : worse", "tokens"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for seed, ways in splits.items():
        one = ways[CHOSEN]
        shares = (f"{np.mean(one.right):.2%}", f"{np.mean(one.large_right):.2%}")
        table.add_row(str(seed), one.way, *shares, versus(one.right, one.large_right), f"{one.tokens:.1%}")
    return table


def averages(splits: dict[int, dict[str, Counted]]) -> Table:
    """What each way came to on average, and its range. Splits share rows, so they are no sample."""
    table = Table(title=f"Means of {len(splits)} splits (lowest to highest)")
    for heading in ("", "right", "against the large model alone", "tokens"):
        table.add_column(heading, justify="right" if heading else "left")
    for way in next(iter(splits.values())):
        counted = [ways[way] for ways in splits.values()]
        gains, tokens = [one.gain for one in counted], [one.tokens for one in counted]
        table.add_row(
            way,
            f"{np.mean([one.right for one in counted]):.2%}",
            f"{np.mean(gains):+.2%} ({min(gains):+.2%} to {max(gains):+.2%})",
            f"{np.mean(tokens):.1%} ({min(tokens):.1%} to {max(tokens):.1%})",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, "reviews")
    parser.add_argument("--splits", type=int, default=1, help="how many times the rows are split")
    parser.add_argument("--without-hints", action="store_true", help="only the ways that give no hints")
    options = parser.parse_args()
    encoder = Remembering(small_encoder(options, PROMPT, REPLY_BEGINS))
    splits = {seed: measure(options, encoder, seed) for seed in range(options.seed, options.seed + options.splits)}
    if len(splits) > 1:
        Console(width=140).print(chosen(splits), averages(splits))


if __name__ == "__main__":
    main()
