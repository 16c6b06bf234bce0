"""Measures what a fit of the small model costs, and how long it takes beside busy processes: `make bench-fitting`.

    python tests/bench/fitting.py banking77_train.csv [--busy 2]

A table has the columns "text" and "label". Texts are encoded before the clock starts. Exits with 1 if a bound is not
held.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from fast import Rows, labelled
from intents import draw
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dsplus_chains.encoding import SentenceEncoder
from dsplus_chains.scoring.ensemble import EnsembleClassifier
from dsplus_chains.scoring.members.member import TextBatch

MANY_LABELS, MANY_ROWS = 60, 100
"""Most seconds of a processor for the whole table, and for `ROWS` rows of two labels."""
ROWS = 50_000
SLOWER = 4
"""Most times as long beside the busy processes as alone."""


def fitted(texts: list[str], targets: NDArray[np.int64], vectors: NDArray[np.float32]) -> tuple[float, float]:
    """The processor time and the time of the clock that a fit takes, in seconds."""
    batch = TextBatch(texts, SentenceEncoder.from_pretrained("auto"))
    batch.vectors = vectors
    processor, clock = time.process_time(), time.perf_counter()
    EnsembleClassifier.fit(texts, targets, int(targets.max()) + 1, encoder=batch.encoder, batch=batch)
    return time.process_time() - processor, time.perf_counter() - clock


def of_two_labels(rows: Rows, vectors: NDArray[np.float32]) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
    """Many different rows, each made of two rows of the table. Their label says which half of the intents it is."""
    chance = np.random.default_rng(0)
    names = sorted({label for _, label in rows})
    halves = np.array([names.index(label) % 2 for _, label in rows])
    first = chance.integers(0, len(rows), ROWS)
    second = np.array([chance.choice(np.flatnonzero(halves == halves[row])) for row in first])
    mixed = vectors[first] + vectors[second]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return [f"{rows[one][0]} {rows[other][0]}" for one, other in zip(first, second, strict=True)], halves[first], mixed


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--per-class", type=int, default=20, help="rows of each label of the fit beside busy processes")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="number of busy processes")
    options = parser.parse_args()
    rows = labelled(options.table)
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    names = sorted(set(labels))
    targets = np.array([names.index(label) for label in labels])
    vectors = SentenceEncoder.from_pretrained("auto").encode(texts)
    many_labels, _ = fitted(texts, targets, vectors)
    many_rows, _ = fitted(*of_two_labels(rows, vectors))
    few = draw(labels, options.per_class, 0)[0]
    small = [texts[row] for row in few], targets[few], vectors[few]
    _, alone = fitted(*small)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        _, beside = fitted(*small)
    finally:
        for other in others:
            other.kill()
            other.wait()
    table = Table("fit", "measured", "bound")
    table.add_row(f"{len(rows):,} rows, {len(names)} labels", f"{many_labels:.0f} CPU s", f"{MANY_LABELS} CPU s")
    table.add_row(f"{ROWS:,} rows, 2 labels", f"{many_rows:.0f} CPU s", f"{MANY_ROWS} CPU s")
    table.add_row(f"{len(few):,} rows, alone", f"{alone:.1f} s", "")
    table.add_row(f"the same beside {options.busy} busy processes", f"{beside / alone:.2f} x", f"{SLOWER} x")
    Console().print(table)
    return 0 if many_labels <= MANY_LABELS and many_rows <= MANY_ROWS and beside <= SLOWER * alone else 1


if __name__ == "__main__":
    sys.exit(main())
