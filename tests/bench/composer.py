"""Measures choosing one of several large models for each query, on recorded scores.

    python tests/bench/composer.py scores.jsonl prices.json

A line of the first file is `{"query": text, "scores": {model: score}}`. The second file holds `{model: price}`. The
composer is fitted on all rows. All figures are of scores foreseen out of fold, in five folds. The tradeoff is chosen by
the mean price alone, so no score was looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dsplus_chains import ModelComposer

SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3)
"""Mean prices that are allowed, as shares of the best single model's price."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores")
    parser.add_argument("prices")
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with Path(options.scores).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    prices = json.loads(Path(options.prices).read_text(encoding="utf-8"))
    composer = ModelComposer.fit(
        [row["query"] for row in rows],
        [row["scores"] for row in rows],
        models=dict.fromkeys(prices, str),
        costs=prices,
        encoder=options.encoder,
        seed=options.seed,
    )
    best = composer.report(0.0).best_single
    table = Table(title=f"{len(rows)} queries out of fold; best single model: {best.model}, {best.score:.4f}")
    for heading in ("price allowed", "price", "score", "difference (95 %)", "by lot at equal price", "recovered"):
        table.add_column(heading, justify="right")
    for share in SHARES:
        report = composer.within(share * best.cost).report()
        around = report.interval
        table.add_row(
            f"{share:.0%}",
            f"{report.cost / best.cost:.1%}",
            f"{report.score:.4f}",
            f"{report.difference:+.4f} ({around.low:+.4f} to {around.high:+.4f})",
            f"{report.random_at_equal_cost:.4f}",
            "" if report.recovered is None else f"{report.recovered:.1%}",
        )
    Console(width=120).print(table)
    Console(width=120).print(str(composer.within(0.7 * best.cost).report()), highlight=False)


if __name__ == "__main__":
    main()
