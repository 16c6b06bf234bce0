"""Measures what hints and fusion are worth on reviews: the chain against the large model alone, with a live model.

    python tests/bench/reviews.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers answers.sqlite

The rows (`text,label`) are split once: 1,600 to fit the small model on, 300 to tune on, 2,000 to count on. The large
model alone gets the same instruction without hints. Only the least sure of the tuning rows are asked about, since no
others could be deferred. Every answer is kept in a file, so a second run asks for nothing.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dsplus_chains import (
    ConfidenceBranch,
    HintPromptBuilder,
    LabelParser,
    SmallModelScorer,
    evaluate,
    tune_threshold,
)
from dsplus_chains.calibration.intervals import sign_test
from dsplus_chains.integrations.answer_cache import SQLiteAnswerCache
from dsplus_chains.tuning.fused import FusionMode

INSTRUCTION = "What is the sentiment of this product review?"
TRAIN, TUNE, TEST = 1600, 300, 2000
MAX_ESCALATION = 0.25
ASKED = 0.4
"""The share of tuning rows, the least sure first, that the large model is asked about."""

Records = Sequence[dict[str, Any]]


def read(path: str, seed: int) -> list[tuple[list[str], list[str]]]:
    """The texts and labels of the three parts."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(seed).permutation(len(rows))[: TRAIN + TUNE + TEST]
    parts = np.split(order, [TRAIN, TRAIN + TUNE])
    return [([rows[row]["text"] for row in part], [rows[row]["label"] for row in part]) for part in parts]


def ask(arm: Runnable[Any, Any], records: Records, title: str) -> Records:
    """Every record through the large arm, one at a time so that progress shows."""
    branch = ConfidenceBranch(large=arm, threshold=None)
    return [branch.invoke(record) for record in track(records, title, console=Console(stderr=True))]


def answer(record: dict[str, Any]) -> Any:
    """What the large model said, if it said a label."""
    return record["answer"] if record["source"] == "large" else None


def spent(records: Records) -> int:
    """Tokens of the large model."""
    return sum(record["large"].usage["total_tokens"] for record in records if "large" in record)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--answers", required=True, help="file in which answers are kept")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    (texts, labels), (tune_texts, tune_labels), (test_texts, test_labels) = read(options.reviews, options.seed)

    model = ChatOpenAI(
        model=options.model,
        base_url=options.base_url,
        api_key="none",
        temperature=0,
        max_tokens=8,
        logprobs=True,
        max_retries=5,
        timeout=300,
        cache=SQLiteAnswerCache(options.answers),
    )
    names = sorted(set(labels))
    read_label = LabelParser(labels=names)
    scorer = SmallModelScorer.fit(texts, labels, seed=options.seed)
    prompt = HintPromptBuilder(labels=names, instruction=INSTRUCTION, track_record=scorer.track_record)
    plain = HintPromptBuilder(labels=names, instruction=INSTRUCTION, hints="none")

    tuning = scorer.batch(tune_texts)
    least_sure = np.argsort([record["prediction"].confidence for record in tuning], kind="stable")
    asked = sorted(least_sure[: round(ASKED * len(tuning))].tolist())
    told = ask(prompt | model | read_label, [tuning[row] for row in asked], "tuning rows, soft hints")
    answers: list[Any] = [None] * len(tuning)
    sure: list[float | None] = [None] * len(tuning)
    for row, record in zip(asked, told, strict=True):
        answers[row], sure[row] = answer(record), record["large"].confidence

    records = scorer.batch(test_texts)
    alone = ask(plain | model | read_label, records, "test rows, large model alone")
    alone_answers = [answer(record) for record in alone]
    alone_right = np.array([said == label for said, label in zip(alone_answers, test_labels, strict=True)])
    table = Table(title=f"{len(test_labels)} test reviews, {options.model}, seed {options.seed}")
    for heading in ("", "right", "against large alone (95 %)", "better : worse", "sign test p", "deferred", "tokens"):
        table.add_column(heading, justify="right" if heading else "left")
    small_right = np.mean([r["prediction"].label == label for r, label in zip(records, test_labels, strict=True)])
    table.add_row("small model alone", f"{small_right:.2%}", "", "", "", "0.0%", "0.0%")
    table.add_row("large model alone", f"{alone_right.mean():.2%}", "", "", "", "100.0%", f"{spent(alone):,}")
    variants: list[tuple[str, bool, FusionMode]] = [
        ("hints and fusion", True, "posterior"),
        ("hints", True, "replace"),
        ("fusion", False, "posterior"),
        ("neither", False, "replace"),
    ]
    for name, hinted, fusion in variants:
        tuned = tune_threshold(
            [record["prediction"] for record in tuning],
            tune_labels,
            answers,
            objective="max_escalation",
            max_escalation=MAX_ESCALATION,
            fusion=fusion,
            large_confidences=sure,
        )
        arm = (prompt if hinted else plain) | model | read_label
        chain: Runnable[Any, Any] = ConfidenceBranch(large=arm, threshold=tuned.threshold)
        if tuned.fusion is not None:
            chain = chain | tuned.fusion
        found = [chain.invoke(record) for record in track(records, name, console=Console(stderr=True))]
        result = evaluate(found, test_labels, large_answers=alone_answers)
        right = np.array([row["answer"] == label for row, label in zip(found, test_labels, strict=True)])
        better, worse = int((right & ~alone_right).sum()), int((~right & alone_right).sum())
        gain, over = result.gain_over_large, result.accuracy - alone_right.mean()
        table.add_row(
            name,
            f"{result.accuracy:.2%}",
            "" if gain is None else f"{over:+.2%} ({gain.low:+.2%} to {gain.high:+.2%})",
            f"{better} : {worse}",
            f"{sign_test(better, worse):.2g}",
            f"{result.escalation_rate:.1%}",
            f"{spent(found) / spent(alone):.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
