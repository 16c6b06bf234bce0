"""Measures scoring on a device beside a bare encode at its best batch size.

    python tests/bench/device.py banking77_train.csv [--encoder FOLDER] [--device cuda] [--per-class 20]

A table has the columns "text" and "label". The default small model is fitted on a part of it and scores the rest. Times
are medians over interleaved runs of one process. Exits with 1 if the scorer is slower than the bound.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from fast import labelled
from intents import draw
from overhead import medians
from rich.console import Console
from rich.table import Table

from dsplus_chains import SmallModelScorer
from dsplus_chains.encoding.sentence import SentenceEncoder
from dsplus_chains.scoring.members.member import Member, TextBatch
from dsplus_chains.scoring.table_predictions import predictions_of

SIZES = {"cpu": (4, 8, 16, 32, 64, 128), "cuda": (32, 64, 128, 256, 512, 1024)}
"""Batch sizes of a bare encode."""
LEAST = {"cpu": 0.9, "cuda": 0.7}
"""Least speed of the scorer, as a share of the bare encode's."""


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--encoder", default="auto", help="a sentence-transformers model: its name, or a folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--per-class", type=int, default=20, help="rows of each label that the model is fitted on")
    parser.add_argument("--rows", type=int, default=5860, help="largest number of texts that are scored")
    parser.add_argument("--sizes", type=int, nargs="+", help="batch sizes of the encoder")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    kind = torch.device(options.device).type
    sizes = options.sizes or SIZES[kind]
    rows = labelled(options.table)
    texts, labels = zip(*rows, strict=True)
    taken = set(draw(list(labels), options.per_class, 0)[0])
    encoder = SentenceEncoder.from_pretrained(options.encoder, device=options.device)
    known = [row for number, row in enumerate(rows) if number in taken]
    scorer = SmallModelScorer.fit([text for text, _ in known], [label for _, label in known], encoder=encoder)
    new = [text for number, text in enumerate(texts) if number not in taken][: options.rows]
    classifier, model = scorer.classifier, encoder.model
    scores = classifier.predict(new)

    def bare(size: int) -> None:
        model.encode(new, batch_size=size, show_progress_bar=False)

    def ours(size: int) -> None:
        replace(encoder, batch_size=size).encode(new)

    vectors = encoder.encode(new)

    def member(one: Member) -> None:
        known = TextBatch(new, encoder)
        known.vectors = vectors
        one.log_proba(known)

    parts = {
        "SentenceEncoder.encode": lambda: encoder.encode(new),
        **{f"the member {one.kind!r}, without the encode": partial(member, one) for one in classifier.members},
        "members, with the encode": lambda: classifier.predict(new),
        "known texts": lambda: scorer.training_of(new),
        "predictions": lambda: predictions_of(scorer.labels, scores, [None] * len(new)),
        "scorer.batch": lambda: scorer.batch(new),
    }
    bares = {f"bare encode, batch size {size}": partial(bare, size) for size in sizes}
    encodes = {f"SentenceEncoder.encode, batch size {size}": partial(ours, size) for size in sizes}
    tasks = {**parts, **bares, **encodes}
    named = dict(zip(tasks, medians(options.runs, *tasks.values()), strict=True))
    what = torch.cuda.get_device_name() if options.device.startswith("cuda") else "processor"
    table = Table("what", "texts a second", "µs a text", title=f"{len(new)} texts, {len(scorer.labels)} labels, {what}")
    for name, seconds in named.items():
        table.add_row(name, f"{len(new) / seconds:,.0f}", f"{seconds / len(new) * 1e6:.1f}")
    share = min(named[name] for name in bares) / named["scorer.batch"]
    bound = LEAST[kind]
    table.add_row("scorer over bare encode at its best", f"{share:.3f}", f"bound {bound}")
    Console().print(table)
    return 0 if share >= bound else 1


if __name__ == "__main__":
    sys.exit(main())
