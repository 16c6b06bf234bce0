"""Measures the small model and the chain on labelled rows, and on others with logged answers of a large model.

    python tests/bench/intents.py train.csv dev.csv --text text --label label --large-column gpt --per-class 10

For each draw of training rows: fit; accuracy and calibration on training rows that were not drawn (2,000 at most; none
are left with --per-class 0, which trains on all) and on the dev rows. The chain needs logged answers, so it is tuned on
four fifths of the dev rows and counted on the fifth, five times. Of the fused chain there is also the accuracy at other
shares deferred, and how far the lowest of any above the tuned share falls below the tuned point.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from means import show_means
from numpy.typing import NDArray
from remembering import Remembering

from dsplus_chains import Prediction, SmallModelScorer, tune_threshold
from dsplus_chains.calibration.metrics import expected_calibration_error
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.prompting.hints import offered_labels

HELD_OUT = 2000
FOLDS = 5
SHARES = (0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0)
Rows = tuple[list[str], list[str], list[str]]


def read(path: str, text: str, label: str, large: str | None = None) -> Rows:
    """The texts, labels and logged answers of a file."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row[text] for row in rows], [row[label] for row in rows], [row[large] if large else "" for row in rows]


def draw(labels: list[str], per_class: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the rows to train on, and of the rows to test on."""
    taken: list[int] = []
    rest: list[int] = []
    counts = dict.fromkeys(labels, 0)
    for row in np.random.default_rng(seed).permutation(len(labels)).tolist():
        counts[labels[row]] += 1
        (taken if not per_class or counts[labels[row]] <= per_class else rest).append(row)
    return taken, rest[:HELD_OUT]


def predict(scorer: SmallModelScorer, texts: list[str]) -> list[Prediction]:
    """The small model's predictions."""
    return [record["prediction"] for record in scorer.batch(texts)] if texts else []


def pruned(predictions: list[Prediction], labels: list[str], said: list[str]) -> tuple[float, float, float]:
    """Of deferred rows not tuned on: how often pruned labels hold the true one, how many there are, of how many."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    held, sizes, names = [], [], list(predictions[0].probabilities or ())
    for number in range(FOLDS):
        known = [[column[row] for row in np.flatnonzero(fold != number)] for column in (predictions, labels, said)]
        tuned = tune_threshold(*known, objective="max_escalation", max_escalation=0.25, set_coverage=0.95)
        for row in np.flatnonzero(fold == number):
            if not predictions[row].confidence >= (np.inf if tuned.threshold is None else tuned.threshold):
                offered = offered_labels(predictions[row], names, top_k=5, set_level=tuned.set_level)
                held.append(labels[row] in offered)
                sizes.append(len(offered))
    return float(np.mean(held)), float(np.mean(sizes)), float(len(names))


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a chain does on rows that it was not tuned on, one entry a row.

    Args:
        confidence: Of the small model.
        asked: Whether the tuned chain defers it.
        kept_right: Whether the small model is right.
        deferred_right: Whether the last word would be right if it were deferred.
    """

    confidence: NDArray[np.float64]
    asked: NDArray[np.bool_]
    kept_right: NDArray[np.bool_]
    deferred_right: NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        """Of the tuned chain."""
        return float(np.where(self.asked, self.deferred_right, self.kept_right).mean())

    @property
    def escalated(self) -> float:
        """Share of rows that the tuned chain defers."""
        return float(self.asked.mean())

    def accuracy_at(self, share: float) -> float:
        """Were this share of the rows deferred, the least sure first."""
        order = np.argsort(self.confidence, kind="stable")
        n = round(share * len(order))
        return float((self.deferred_right[order[:n]].sum() + self.kept_right[order[n:]].sum()) / len(order))

    @property
    def worst_fall(self) -> float:
        """The lowest accuracy at any share above the tuned one, less that of the tuned point."""
        return min(self.accuracy_at(share) for share in np.linspace(self.escalated, 1.0, 200)) - self.accuracy


def chain(predictions: list[Prediction], labels: list[str], said: list[str], **objective: Any) -> Counted:
    """The chain on rows that it was not tuned on, fold by fold."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    asked, deferred_right = np.zeros((2, len(labels)), dtype=np.bool_)
    for number in range(FOLDS):
        counted = np.flatnonzero(fold == number)
        known = [[column[row] for row in np.flatnonzero(fold != number)] for column in (predictions, labels, said)]
        tuned = tune_threshold(*known, **objective)
        own = [predictions[row] for row in counted]
        answers = [said[row] for row in counted]
        if tuned.fusion is not None:
            answers = [row.label for row in tuned.fusion.fuse(own, answers)]
        level = np.inf if tuned.threshold is None else tuned.threshold
        for row, prediction, answer in zip(counted, own, answers, strict=True):
            asked[row] = not prediction.confidence >= level
            deferred_right[row] = answer == labels[row]
    return Counted(
        confidence=np.array([row.confidence for row in predictions]),
        asked=asked,
        kept_right=np.array([row.label == label for row, label in zip(predictions, labels, strict=True)]),
        deferred_right=deferred_right,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--large-column", default="large")
    parser.add_argument("--encoder", default="auto", help="a sentence-transformers model: its name, or a folder")
    parser.add_argument("--per-class", type=int, default=10, help="training rows of each label; 0: all")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--max-escalation", type=float, default=0.25, help="bound for the fused chain")
    options = parser.parse_args()
    texts, labels, _ = read(options.train, options.text, options.label)
    dev, truth, said = read(options.dev, options.text, options.label, options.large_column)
    encoder = Remembering(SentenceEncoder.from_pretrained(options.encoder))
    found: list[dict[str, float]] = []
    for seed in range(options.draws if options.per_class else 1):
        taken, rest = draw(labels, options.per_class, seed)
        start = time.perf_counter()
        scorer = SmallModelScorer.fit(
            [texts[row] for row in taken], [labels[row] for row in taken], encoder=encoder, seed=seed
        )
        figures = {"seconds to fit, texts encoded": time.perf_counter() - start}
        predictions = predict(scorer, dev)
        for name, rows, known in (
            ("held out", predict(scorer, [texts[row] for row in rest]), [labels[row] for row in rest]),
            ("dev", predictions, truth),
        ):
            if rows:
                right = np.array([row.label == label for row, label in zip(rows, known, strict=True)])
                confidence = np.array([row.confidence for row in rows])
                figures[f"small model, {name}"] = float(right.mean())
                figures[f"calibration error, {name}"] = expected_calibration_error(confidence, right)
        capped = {"objective": "max_escalation", "max_escalation": options.max_escalation}
        for name, objective in {
            "replaced": {"fusion": "replace"},
            "fused": {"fusion": "posterior"},
            f"replaced, at most {options.max_escalation:.0%}": {"fusion": "replace", **capped},
            f"fused, at most {options.max_escalation:.0%}": {"fusion": "posterior", **capped},
        }.items():
            counted = chain(predictions, truth, said, **objective)
            figures[f"chain, {name}"], figures[f"  escalated, {name}"] = counted.accuracy, counted.escalated
            if objective == {"fusion": "posterior", **capped}:
                figures |= {f"  were {share:.0%} deferred": counted.accuracy_at(share) for share in SHARES}
                figures["  lowest above the tuned share, less tuned"] = counted.worst_fall
        figures["deferred: true label among those offered"], figures["  labels offered"], figures["  of"] = pruned(
            predictions, truth, said
        )
        found.append(figures)
    show_means(f"{options.per_class or 'all'} rows of each label, {len(encoder.known)} texts", found)


if __name__ == "__main__":
    main()
