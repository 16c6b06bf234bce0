"""Measures `ood_score` on clinc150: how well it tells texts out of scope from those of the 150 intents.

    python tests/bench/out_of_scope.py data_full.json --per-class 50

Fits on the training texts of the intents (none out of scope), and counts on the test split: accuracy and calibration on
the intents, the area under the ROC curve of `ood_score` and of the confidence, and what `max_ood_score` defers.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from dsplus_chains import SmallModelScorer
from dsplus_chains.calibration.metrics import expected_calibration_error


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = json.loads(Path(options.data).read_text(encoding="utf-8"))
    counts: dict[str, int] = {}
    train = []
    for row in np.random.default_rng(options.seed).permutation(len(data["train"])):
        text, label = data["train"][row]
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= options.per_class:
            train.append((text, label))
    started = time.perf_counter()
    scorer = SmallModelScorer.fit([text for text, _ in train], [label for _, label in train], seed=options.seed)
    print(f"fitted on {len(train)} rows of {len(scorer.labels)} labels in {time.perf_counter() - started:.0f} s")
    known = [record["prediction"] for record in scorer.batch([text for text, _ in data["test"]])]
    strange = [record["prediction"] for record in scorer.batch([text for text, _ in data["oos_test"]])]
    right = [row.label == label for row, (_, label) in zip(known, data["test"], strict=True)]
    error = expected_calibration_error([row.confidence for row in known], right)
    print(f"{len(known)} texts of the intents: {np.mean(right):.4f} right, expected calibration error {error:.4f}")
    outside = [False] * len(known) + [True] * len(strange)
    for name, scores in (
        ("ood_score", [row.ood_score for row in known + strange]),
        ("1 - confidence", [1 - row.confidence for row in known + strange]),
    ):
        print(f"{len(strange)} texts out of scope: AUROC {roc_auc_score(outside, scores):.4f} by {name}")
    for coverage in (0.9, 0.95, 0.99):
        limit = scorer.ood_limit(coverage)
        caught, lost = (np.mean([row.ood_score > limit for row in rows]) for rows in (strange, known))
        print(
            f"max_ood_score=ood_limit({coverage}): defers {caught:.1%} of what is out of scope, {lost:.1%} of the rest"
        )


if __name__ == "__main__":
    main()
