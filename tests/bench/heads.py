"""Measures the heads of the small model's network, and copies of it, against one plain network.

    python tests/bench/heads.py clinc150_data_full.json banking77_train.csv --per-class 20

Only training splits are read: the split "train" of a JSON file such as clinc150's, or all rows of a table with the
columns `text` and `label`. They are cut into as many parts as there are seeds. Each part is held out once, and models
are fitted on examples of the other parts. So each row is counted once. A table is printed after each part.

"Alone" is the network by itself, and "small model" is the mixture that it is a member of. A difference is to one plain
network on the same rows. The seconds are processor time of the network's six fits. The other members do not depend on
the head, so they are fitted once for all. Texts are encoded once.
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

from dsplus_chains import SmallModelScorer
from dsplus_chains.calibration.intervals import paired_difference_interval, wilson_interval
from dsplus_chains.calibration.metrics import expected_calibration_error
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.scoring import ensemble
from dsplus_chains.scoring.members.heads import HEADS
from dsplus_chains.scoring.members.member import Member, TextBatch
from dsplus_chains.scoring.members.network import NetworkMember

WAYS: list[dict[str, Any]] = [*({"head": head} for head in HEADS), {"head": "mlp", "copies": 3}]
"""The settings that are compared. The first is the plain network."""


@dataclass
class Sharing:
    """Stands for what fits a member of the small model. Members that are no network are fitted once for all heads."""

    fit: Callable[..., Member]
    known: dict[tuple[str, bytes], Member] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, name: str, *how: Any) -> Member:
        """The member, fitted on the rows that are last but two of what it is told."""
        if name in HEADS:
            begin = time.process_time()
            member = self.fit(name, *how)
            self.seconds += time.process_time() - begin
            return member
        key = (name, how[-3].tobytes())
        if key not in self.known:
            self.known[key] = self.fit(name, *how)
        return self.known[key]


@dataclass
class Counted:
    """What one way does on the rows held out, one entry a row."""

    right: list[bool] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    seconds: float = 0.0


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


def count(scorer: SmallModelScorer, texts: list[str], labels: list[str], found: Counted) -> None:
    """Add what a scorer, and the network in it, say of rows."""
    batch = TextBatch(texts, scorer.encoder)
    table = scorer.classifier.predict_batch(batch).probabilities
    (network,) = (member for member in scorer.classifier.members if isinstance(member, NetworkMember))
    for said, right in ((table, found.right), (network.log_proba(batch), found.alone)):
        right += [scorer.labels[number] == label for number, label in zip(said.argmax(axis=1), labels, strict=True)]
    found.confidence += table.max(axis=1).tolist()


def difference(ours: list[bool], plain: list[bool]) -> str:
    """The difference of two shares on the same rows, in points."""
    a, b = np.array(ours), np.array(plain)
    wins, losses = int((a & ~b).sum()), int((b & ~a).sum())
    around = paired_difference_interval(wins, losses, len(a))
    return f"{100 * (wins - losses) / len(a):+.2f} ({100 * around.low:+.2f} to {100 * around.high:+.2f})"


def measure(path: str, encoder: Remembering, options: argparse.Namespace) -> None:
    """Measure all ways on one file, and print them."""
    texts, labels = read(path)
    found = [Counted() for _ in WAYS]
    parts = np.array_split(np.random.default_rng(0).permutation(len(texts)), options.seeds)
    fit = ensemble._fit
    for seed, part in enumerate(parts):
        others = np.concatenate([rows for other, rows in enumerate(parts) if other != seed])
        train, test = ([(texts[row], labels[row]) for row in rows] for rows in (drawn(labels, others, options), part))
        known, sharing = TextBatch([text for text, _ in train], encoder), Sharing(fit)
        for way, counted in zip(WAYS, found, strict=True):
            with patch.object(ensemble, "_fit", sharing):
                scorer = SmallModelScorer.fit(*zip(*train, strict=True), batch=known, seed=seed, **way)
            counted.seconds, sharing.seconds = counted.seconds + sharing.seconds, 0.0
            count(scorer, *map(list, zip(*test, strict=True)), counted)
        show(f"{Path(path).name}, parts held out: {seed + 1} of {options.seeds}", found, seed + 1)


def show(title: str, found: list[Counted], fits: int) -> None:
    """Print what was found, on the rows held out so far."""
    plain, n = found[0], len(found[0].right)
    table = Table(title=f"{title}, {n} rows")
    for heading in (
        "",
        "small model right",
        "difference, points",
        "ECE",
        "alone right",
        "difference, points",
        "seconds",
    ):
        table.add_column(heading)
    for way, counted in zip(WAYS, found, strict=True):
        around = wilson_interval(sum(counted.right), n)
        table.add_row(
            f"{way['head']}, copies={way.get('copies', 1)}",
            f"{np.mean(counted.right):.4f} ({around.low:.4f} to {around.high:.4f})",
            "" if counted is plain else difference(counted.right, plain.right),
            f"{expected_calibration_error(counted.confidence, counted.right):.4f}",
            f"{np.mean(counted.alone):.4f}",
            "" if counted is plain else difference(counted.alone, plain.alone),
            f"{counted.seconds / fits:.1f}",
        )
    Console(width=150).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    encoder = Remembering(SentenceEncoder.from_pretrained("auto"))
    for path in options.data:
        measure(path, encoder, options)


if __name__ == "__main__":
    main()
