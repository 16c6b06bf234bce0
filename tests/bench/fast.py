"""Measures a faster small model beside the default one: accuracy, texts a second, and the time of a single text.

    python tests/bench/fast.py banking77_train.csv banking77_dev.csv
    python tests/bench/fast.py reviews.csv
    python tests/bench/fast.py banking77_train.csv banking77_dev.csv --model bfloat16

The faster one is "fast", or with --model bfloat16 the default one whose encoder computes in that number type.

A table has the columns "text" and "label". Without a second table, a fifth of the rows is counted on and the others are
fitted on. Times are ratios of medians over interleaved runs of one process. Exits with 1 if a bound is not held. With
--keep, the fitted models stay in a folder, so that a second run only measures.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from intents import draw
from overhead import medians
from rich.console import Console
from rich.table import Table

from dsplus_chains import SmallModelScorer
from dsplus_chains.calibration.intervals import paired_difference_interval, wilson_interval
from dsplus_chains.encoding import SentenceEncoder

Rows = list[tuple[str, str]]
MOST_POINTS = 0.5
BOUNDS = {"fast": (5.0, 1 / 3), "bfloat16": (1.0, 1.0)}
"""The least throughput and the longest time of a single text, as shares of the default model's."""


def labelled(path: Path) -> Rows:
    """The texts and labels of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def split(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Four fifths and the rest, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(rows))
    edge = len(rows) * 4 // 5
    return [rows[row] for row in order[:edge]], [rows[row] for row in order[edge:]]


def model_of(model: str, rows: Rows, place: Path | None) -> SmallModelScorer:
    """A fitted model, or the one that an earlier run has kept."""
    if place is not None and (place / "scorer.json").is_file():
        return SmallModelScorer.load(place)
    started = time.process_time()
    how: dict[str, Any] = {"model": model}
    if model == "bfloat16":
        how = {"encoder": SentenceEncoder.from_pretrained("auto", dtype="bfloat16")}
    scorer = SmallModelScorer.fit([text for text, _ in rows], [label for _, label in rows], **how)
    Console().print(f"{model}: fitted in {time.process_time() - started:.0f} CPU seconds")
    if place is not None:
        scorer.save(place)
    return scorer


def right(scorer: SmallModelScorer, rows: Rows) -> tuple[list[bool], list[str | None]]:
    """Whether each row is answered right, and which stage answered it."""
    found = [record["prediction"] for record in scorer.batch([text for text, _ in rows])]
    hits = [row.label == label for row, (_, label) in zip(found, rows, strict=True)]
    return hits, [row.stage for row in found]


def waits(runs: int, texts: list[str], *scorers: SmallModelScorer) -> list[float]:
    """The median time of a single text for each scorer, the scorers taking turns."""
    times: list[list[float]] = [[] for _ in scorers]
    for text in texts * runs:
        for scorer, taken in zip(scorers, times, strict=True):
            started = time.perf_counter()
            scorer.invoke(text)
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def main() -> int:
    """Fit, count, time, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("dev", type=Path, nargs="?")
    parser.add_argument("--model", choices=list(BOUNDS), default="fast")
    parser.add_argument("--per-class", type=int, default=0, help="training rows of each label; 0: all")
    parser.add_argument("--keep", type=Path, help="folder of the fitted models")
    parser.add_argument("--timed", type=int, default=256, help="number of texts that are timed")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, and of the rows of each label")
    options = parser.parse_args()
    rows = labelled(options.train)
    train, dev = split(rows, options.seed) if options.dev is None else (rows, labelled(options.dev))
    taken, _ = draw([label for _, label in train], options.per_class, options.seed)
    train = [train[row] for row in taken] if options.per_class else train
    models: list[Any] = [
        model_of(model, train, None if options.keep is None else options.keep / model)
        for model in ("auto", options.model)
    ]
    least_speed, most_wait = BOUNDS[options.model]
    (plain, _), (fast, stages) = (right(model, dev) for model in models)
    wins, losses = (sum(np.array(better) & ~np.array(worse)) for better, worse in ((fast, plain), (plain, fast)))
    change = 100 * (wins - losses) / len(dev)
    interval = paired_difference_interval(wins, losses, len(dev))
    texts = [text for text, _ in dev[: options.timed]]
    slow, quick = medians(5, *(lambda model=model: model.batch(texts) for model in models))
    one, other = waits(3, texts[:32], *models)

    table = Table("what", "default", options.model, "bound", "")
    shares = [wilson_interval(sum(hits), len(hits)) for hits in (plain, fast)]
    told = [
        f"{np.mean(hits):.2%} ({at.low:.1%} to {at.high:.1%})" for hits, at in zip((plain, fast), shares, strict=True)
    ]
    table.add_row(f"accuracy, {len(dev)} texts", *told)
    difference = f"{change:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
    table.add_row("points", "", difference, f"-{MOST_POINTS}", verdict(change >= -MOST_POINTS))
    early = f"{stages.count('early') / len(stages):.1%}"
    table.add_row("answered without the encoder", "", early)
    speed = [f"{len(texts) / taken:.0f}" for taken in (slow, quick)]
    bound = f"{least_speed:.0f} x"
    table.add_row(f"texts a second, {len(texts)} at once", *speed)
    table.add_row("throughput", "", f"{slow / quick:.1f} x", bound, verdict(slow / quick >= least_speed))
    table.add_row("single text, p50", *(f"{1000 * each:.1f} ms" for each in (one, other)))
    held = other <= most_wait * one
    table.add_row("time of a single text", "", f"{other / one:.2f} x", f"{most_wait:.2f} x", verdict(held))
    Console().print(models[1].summary)
    Console().print(table)
    return 0 if held and slow / quick >= least_speed and change >= -MOST_POINTS else 1


def verdict(held: bool) -> str:
    """What the table says of a bound."""
    return "held" if held else "NOT HELD"


if __name__ == "__main__":
    sys.exit(main())
