"""Measures what hints and fusion are worth on reviews: the chain against the large model alone, with a live model.

    python tests/bench/reviews.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers answers.sqlite

The rows (`text,label`) are split once: 1,600 to fit the small model on (linear heads on the hidden states of
SmolLM2-135M and of what `--small` names, words, neighbours), 300 to tune on, 2,000 to count on. The rows that were
fitted on are tuned on too, by their out-of-fold predictions: 300 alone place a threshold poorly. The large model alone
gets the same instruction without hints. The arrow is at the way that did best on the rows tuned on. Every answer is
kept in a file, so a second run asks for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from langchain_core.runnables import Runnable
from live import answers, arguments, chat_model, in_slices, small_encoder, spent, split_rows, versus
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, HintPromptBuilder, LabelParser, SmallModelScorer, tune_threshold
from dsplus_chains.tuning.fused import FusionMode
from dsplus_chains.tuning.result import TunedThreshold

INSTRUCTION = "What is the sentiment of this product review?"
PROMPT = "Review: {text}\nQuestion: What is the sentiment of this product review, negative or positive?"
REPLY_BEGINS = "The sentiment is"
"""What the small language models read; not the answer that one would give is taken, but what it holds ready."""
SIZES = (1600, 300, 2000)
BUDGET = 0.28
"""Of the large model's tokens on the rows tuned on. The paper spent 0.31; new rows may cost more than these."""
ASKED = 0.4
"""The large model is asked about that share of the rows fitted on, the least sure: more than could be deferred."""


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, "reviews").parse_args()
    parts = split_rows(options.reviews, SIZES, options.seed)
    (texts, labels), (tune_texts, tune_labels), (test_texts, truth) = (
        ([row["text"] for row in part], [row["label"] for row in part]) for part in parts
    )
    names = sorted(set(labels))
    ask = chat_model(options, max_tokens=8, logprobs=True) | LabelParser(labels=names)
    scorer = SmallModelScorer.fit(
        texts, labels, encoder=small_encoder(options, PROMPT, REPLY_BEGINS), seed=options.seed
    )
    prompts = {
        "none": HintPromptBuilder(labels=names, instruction=INSTRUCTION, hints="none"),
        "soft": HintPromptBuilder(labels=names, instruction=INSTRUCTION, track_record=scorer.track_record),
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

    table = Table(title=f"{len(truth)} test reviews, {options.model}, seed {options.seed}")
    for heading in ("", "right", "against the large model alone (95 %), better : worse", "deferred", "tokens"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("small model alone", f"{np.mean(small_right):.2%}", versus(small_right, large_right), "0.0%", "0.0%")
    table.add_row("large model alone", f"{np.mean(large_right):.2%}", "", "100.0%", f"{spent(alone):,}")
    variants: list[tuple[str, str, FusionMode]] = [
        ("hints and fusion", "soft", "posterior"),
        ("hints", "soft", "replace"),
        ("fusion", "none", "posterior"),
        ("neither", "none", "replace"),
    ]
    found: list[tuple[str, str, TunedThreshold]] = []
    for name, hints, fusion in variants:
        said, sure = answers(told[hints])
        costs: list[float] = [spent([record]) for record in told[hints]]
        unasked = [None] * (len(rows) - asked)
        tuned = tune_threshold(
            [record["prediction"] for record in rows],
            row_labels,
            [*said, *unasked],
            objective="max_cost",
            large_cost=[*costs, *(np.mean(costs) for _ in unasked)],
            max_cost=BUDGET * spent(told["none"][: len(tuning)]) / len(tuning),
            fusion=fusion,
            large_confidences=[*sure, *unasked],
        )
        found.append((name, hints, tuned))
    chosen = max((tuned for *_, tuned in found), key=lambda tuned: (tuned.chain_accuracy.value, -tuned.cost))
    for name, hints, tuned in found:
        branch = ConfidenceBranch(large=prompts[hints] | ask, threshold=tuned.threshold)
        chain: Runnable[Any, Any] = branch if tuned.fusion is None else branch | tuned.fusion
        answered = in_slices(chain, records, name)
        right = [record["answer"] == label for record, label in zip(answered, truth, strict=True)]
        table.add_row(
            f"→ {name}" if tuned is chosen else name,
            f"{np.mean(right):.2%}",
            versus(right, large_right),
            f"{np.mean([record['source'] != 'small' for record in answered]):.1%}",
            f"{spent(answered) / spent(alone):.1%}",
        )
    Console().print(scorer.summary)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
