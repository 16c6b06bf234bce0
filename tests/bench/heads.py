"""Measures the heads of the small model's network, and copies of it, against one plain network.

    python tests/bench/heads.py clinc150_data_full.json banking77_train.csv --per-class 20

Only training splits are read: the split "train" of a JSON file such as clinc150's, or all rows of a table with the
columns `text` and `label`. They are cut into as many parts as there are seeds. Each part is held out once, and models
are fitted on examples of the other parts. So each row is counted once. Tables are printed after each part.

"Alone" is the network by itself, not calibrated. "Small model" is the mixture that it is a member of. With `--alone`,
the mixture is left out, which takes a sixth of the time. A difference is to one plain network on the same rows. The
seconds are processor time of the network's fits: one alone, six for the mixture. The other members do not depend on the
head, so they are fitted once for all. Texts are encoded once.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from remembering import Remembering
from rich.console import Console
from rich.table import Table

from dsplus_chains.calibration.intervals import paired_difference_interval, wilson_interval
from dsplus_chains.calibration.metrics import expected_calibration_error
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.scoring import ensemble
from dsplus_chains.scoring.members.heads import HEADS
from dsplus_chains.scoring.members.member import Member, TextBatch

WAYS: list[dict[str, Any]] = [*({"head": head} for head in HEADS), {"head": "mlp", "copies": 3}]
"""The settings that are compared. The first is the plain network."""


@dataclass
class Sharing:
    """Stands for what fits a member of the small model. Members that are no network are fitted once for all heads."""

    fit: Callable[..., Member]
    known: dict[tuple[str, bytes], Member] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, name: str, *how: Any) -> Member:
        """The member, fitted on the rows that are last but three of what it is told."""
        if name in HEADS:
            begin = time.process_time()
            member = self.fit(name, *how)
            self.seconds += time.process_time() - begin
            return member
        key = (name, how[-4].tobytes())
        if key not in self.known:
            self.known[key] = self.fit(name, *how)
        return self.known[key]


@dataclass
class Counted:
    """What one way says of the rows held out, one entry a row."""

    right: list[bool] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, table: NDArray[np.float64], numbers: NDArray[np.int64], seconds: float) -> None:
        """Add probabilities of rows, and the class number of each."""
        self.right += (table.argmax(axis=1) == numbers).tolist()
        self.confidence += table.max(axis=1).tolist()
        self.seconds += seconds


def read(path: str) -> tuple[list[str], list[str]]:
    """The texts and labels of a training split."""
    if path.endswith(".json"):
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["train"]
    else:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return [text for text, _ in rows], [label for _, label in rows]


def drawn(labels: list[str], rows: NDArray[np.int64], options: argparse.Namespace) -> list[int]:
    """The first rows of each label."""
    counts = dict.fromkeys(labels, 0)
    taken = []
    for row in rows.tolist():
        counts[labels[row]] += 1
        if counts[labels[row]] <= options.per_class:
            taken.append(row)
    return taken


def difference(ours: list[bool], plain: list[bool]) -> str:
    """The difference of two shares on the same rows, in points."""
    a, b = np.array(ours), np.array(plain)
    wins, losses = int((a & ~b).sum()), int((b & ~a).sum())
    around = paired_difference_interval(wins, losses, len(a))
    return f"{100 * (wins - losses) / len(a):+.2f} ({100 * around.low:+.2f} to {100 * around.high:+.2f})"


def measure(path: str, encoder: Remembering, options: argparse.Namespace) -> None:
    """Measure all ways on one file, and print them."""
    texts, labels = read(path)
    names = list(dict.fromkeys(labels))
    numbers = np.array([names.index(label) for label in labels])
    parts = np.array_split(np.random.default_rng(0).permutation(len(texts)), options.seeds)
    alone, mixed = ([Counted() for _ in WAYS] for _ in range(2))
    for seed, part in enumerate(parts):
        others = np.concatenate([rows for other, rows in enumerate(parts) if other != seed])
        rows = np.array(drawn(labels, others, options))
        encoder.encode([texts[row] for row in (*rows, *part)])  # before anything is timed
        known, held_out = (TextBatch([texts[row] for row in which], encoder) for which in (rows, part))
        sharing = Sharing(ensemble.fit_member)
        for number, way in enumerate(WAYS):
            begin = time.process_time()
            network = HEADS[way["head"]].fit(
                known.vectors, numbers[rows], len(names), seed=seed, copies=way.get("copies", 1)
            )
            seconds = time.process_time() - begin
            alone[number].add(np.exp(network.log_proba(held_out)), numbers[part], seconds)
            if not options.alone:
                with patch.object(ensemble, "fit_member", sharing):
                    model = ensemble.EnsembleClassifier.fit(
                        known.texts, numbers[rows], len(names), encoder=encoder, seed=seed, batch=known, **way
                    )
                mixed[number].add(model.predict_batch(held_out).probabilities, numbers[part], sharing.seconds)
                sharing.seconds = 0.0
        title = f"{Path(path).name}, {seed + 1} of {options.seeds} parts held out"
        for what, found in (("alone", alone), *(() if options.alone else (("small model", mixed),))):
            show(f"{title}, {what}", found, seed + 1)


def show(title: str, found: list[Counted], fits: int) -> None:
    """Print what was found, on the rows held out so far."""
    plain, n = found[0], len(found[0].right)
    table = Table(title=f"{title}, {n} rows")
    for heading in ("", "right", "difference, points", "calibration error", "seconds"):
        table.add_column(heading)
    for way, counted in zip(WAYS, found, strict=True):
        around = wilson_interval(sum(counted.right), n)
        table.add_row(
            f"{way['head']}, copies={way.get('copies', 1)}",
            f"{np.mean(counted.right):.4f} ({around.low:.4f} to {around.high:.4f})",
            "" if counted is plain else difference(counted.right, plain.right),
            f"{expected_calibration_error(counted.confidence, counted.right):.4f}",
            f"{counted.seconds / fits:.1f}",
        )
    Console(width=120).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="measure the networks alone, without the mixture")
    options = parser.parse_args()
    encoder = Remembering(SentenceEncoder.from_pretrained("auto"))
    for path in options.data:
        measure(path, encoder, options)


if __name__ == "__main__":
    main()
