"""Measures what the reasons of a live large model are worth to the small one, beside reasons that were shuffled.

    python tests/bench/rationales.py rows.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers answers.sqlite

The rows (`text,label`) are drawn once. The large model is asked about `--rows` of them, one at a time, for a label and
at most 15 words why. Every answer is kept in a file, so a run that was stopped goes on, and a second run asks for
nothing. The small model is fitted on the true labels of these rows, with each of `--seeds`. Once it learns from labels
alone, once from the reasons too, and once from the same reasons after they changed rows by lot. A reason for a wrong
label is left out. `--count` other rows are counted. Of the members only the network can learn from reasons, so it is
measured alone. `--mixed` also measures the whole small model, which takes much longer.

An interval is about the rows counted. It does not tell what other training rows would have given.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from live import arguments, chat_model, in_slices, split_rows
from numpy.typing import NDArray
from remembering import Remembering
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, LabelTask, Prediction, SmallModelScorer
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.learning.lesson import LessonRow
from dsplus_chains.scoring.members.member import TextBatch
from dsplus_chains.scoring.members.mlp import MlpMember
from dsplus_chains.scoring.members.rationales import Rationales

WAYS = ("labels alone", "with reasons", "with shuffled reasons")


def asked(rows: Sequence[dict[str, str]], labels: Sequence[str], options: argparse.Namespace) -> list[LessonRow]:
    """The rows with what the large model says of them."""
    task = LabelTask(labels=labels, instruction=options.instruction, hints="none", retries=0, rationale=True)
    arm = task.arm(chat_model(options, max_tokens=80))
    unsure = Prediction(label=labels[0], confidence=0.0)
    records = in_slices(
        ConfidenceBranch(large=arm, threshold=None),
        [{"input": row["text"], "prediction": unsure} for row in rows],
        "asking for reasons",
        at_once=1,
    )
    return [
        LessonRow(
            text=row["text"],
            label=row["label"],
            answer=record["answer"] if record["source"] == "large" else None,
            rationale=record["large"].rationale,
        )
        for row, record in zip(rows, records, strict=True)
    ]


def right(
    lesson: Sequence[LessonRow],
    test: Sequence[dict[str, str]],
    encoder: Remembering,
    told: Rationales | None,
    seed: int,
    *,
    mixed: bool,
) -> dict[str, NDArray[np.bool_]]:
    """Which test rows the network gets right, and the small model that it is a member of, if that is wanted."""
    texts, labels = [row.text for row in lesson], [row.label for row in lesson]
    names = np.unique(labels)
    seen, truth = TextBatch([row["text"] for row in test], encoder), np.array([row["label"] for row in test])
    batch = TextBatch(texts, encoder)
    batch.rationales = told
    numbers = np.searchsorted(names, labels)
    network = MlpMember.fit(batch.vectors, numbers, len(names), seed=seed, rationales=told)
    found = {"the network": names[network.log_proba(seen).argmax(axis=1)] == truth}
    if mixed:
        scorer = SmallModelScorer.fit(texts, labels, encoder=encoder, seed=seed, batch=batch)
        said = scorer.classifier.predict_batch(seen).probabilities.argmax(axis=1)
        found["the small model"] = np.array(scorer.labels)[said] == truth
    return found


def reasons_of(
    lesson: Sequence[LessonRow], encoder: Remembering, weight: float, order: NDArray[np.int64] | None
) -> Rationales:
    """The reasons as vectors, perhaps in another order."""
    told = np.array([row for row, one in enumerate(lesson) if one.reason])
    found = encoder.encode([lesson[row].reason or "" for row in told])
    vectors = np.full((len(lesson), found.shape[1]), np.nan, dtype=np.float32)
    vectors[told] = found if order is None else found[order]
    return Rationales(vectors=vectors, weight=weight)


def gain(found: dict[str, list[NDArray[np.bool_]]], way: str, other: str) -> str:
    """The difference in points, with an interval over the rows, whose figures are means over the seeds."""
    each = np.mean(found[way], axis=0) - np.mean(found[other], axis=0)
    error = 1.96 * each.std(ddof=1) / len(each) ** 0.5
    return f"{100 * each.mean():+.2f} ({100 * (each.mean() - error):+.2f} to {100 * (each.mean() + error):+.2f})"


def main() -> None:
    """Ask, fit, count and print."""
    parser = arguments(__doc__, "data", encoder=False)
    parser.add_argument("--instruction", default="What is the sentiment of this product review?")
    parser.add_argument("--rows", type=int, default=150, help="how many rows the large model is asked about")
    parser.add_argument("--count", type=int, default=2000, help="how many other rows are counted")
    parser.add_argument("--longest", type=int, default=600, help="texts with more characters are left out")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0])
    parser.add_argument("--mixed", action="store_true", help="measure the whole small model, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    options = parser.parse_args()
    train, test = split_rows(options.data, (options.rows, options.count), options.seed, longest=options.longest)
    labels = sorted({row["label"] for row in train})
    encoder = Remembering(SentenceEncoder.from_pretrained("auto"))
    lesson = asked(train, labels, options)
    told = sum(row.reason is not None for row in lesson)
    correct = sum(row.answer == row.label for row in lesson)
    Console().print(
        f"{len(lesson)} rows, {correct} answers are right, {told} of these came with a reason; {len(test)} rows counted"
    )
    for row in lesson[:5]:
        Console().print(f"  {row.label} / {row.answer}: {row.rationale}", highlight=False, markup=False)
    for weight in options.weights:
        members = ("the network", "the small model") if options.mixed else ("the network",)
        found: dict[str, dict[str, list[Any]]] = {what: {way: [] for way in WAYS} for what in members}
        for seed in options.seeds:
            order = np.random.default_rng(seed).permutation(told)
            given = (None, reasons_of(lesson, encoder, weight, None), reasons_of(lesson, encoder, weight, order))
            for way, reasons in zip(WAYS, given, strict=True):
                for what, rows in right(lesson, test, encoder, reasons, seed, mixed=options.mixed).items():
                    found[what][way].append(rows)
        show(found, f"weight {weight:g}, {len(options.seeds)} seeds")


def show(found: dict[str, dict[str, list[Any]]], title: str) -> None:
    """Print the share of right answers of each way, and the differences."""
    table = Table(title=title)
    for heading in ("", "right", "points against labels alone", "points against shuffled reasons"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, ways in found.items():
        for way in WAYS:
            table.add_row(
                f"{what}, {way}",
                f"{np.mean(ways[way]):.2%}",
                "" if way == WAYS[0] else gain(ways, way, WAYS[0]),
                gain(ways, way, WAYS[2]) if way == WAYS[1] else "",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
