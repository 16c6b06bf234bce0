"""Measures several inputs in one prompt against one prompt each, with a live large model.

    python tests/bench/grouping.py reviews.csv --base-url http://127.0.0.1:8080/v1 --model NAME --answers kept.sqlite

The rows (`text,label`) are drawn once by the seed. The large model is asked about each by itself, and about `--group`
of them in one prompt (`LabelTask.arm(model, group=...)`), without hints. Every answer is kept in a file, so a run that
was stopped goes on. Exits with 1 if the answers of groups are right less often by more than the bound.
"""

from __future__ import annotations

import sys

from live import arguments, chat_model, in_slices, spent, split_rows, versus
from rich.console import Console
from rich.table import Table

from dsplus_chains import ConfidenceBranch, LabelTask, Prediction

MOST_POINTS = 0.5
"""As many points of accuracy may be lost."""
TOKENS = 12
"""Most tokens of an answer about one row."""


def main() -> int:
    """Ask, count, print, judge."""
    parser = arguments(__doc__, "data", encoder=False)
    parser.add_argument("--instruction", default="What is the sentiment of this product review?")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--group", type=int, default=10)
    parser.add_argument("--longest", type=int, help="texts with more characters are left out")
    options = parser.parse_args()
    (rows,) = split_rows(options.data, (options.rows,), options.seed, longest=options.longest)
    labels = sorted({row["label"] for row in rows})
    task = LabelTask(labels=labels, instruction=options.instruction, hints="none", retries=0)
    unsure = Prediction(label=labels[0], confidence=0.0)
    given = [{"input": row["text"], "prediction": unsure} for row in rows]
    found = {}
    for name, group in (("alone", 1), (f"groups of {options.group}", options.group)):
        model = chat_model(options, max_tokens=group * 2 * TOKENS)  # a group's answer holds a key for each row
        branch = ConfidenceBranch(large=task.arm(model, group=group), threshold=None)
        found[name] = in_slices(branch, given, name, at_once=4 * group)
    right = {
        name: [
            record["source"] == "large" and record["answer"] == row["label"]
            for record, row in zip(told, rows, strict=True)
        ]
        for name, told in found.items()
    }
    (alone, one), (_, grouped) = right.items()
    table = Table(
        "", "right", "against single prompts (95 %)", "tokens a row", title=f"{len(rows)} rows, {options.model}"
    )
    for name, told in right.items():
        against = "" if name == alone else versus(told, one)
        table.add_row(name, f"{sum(told) / len(rows):.1%}", against, f"{spent(found[name]) / len(rows):.1f}")
    Console().print(table)
    return 0 if (sum(one) - sum(grouped)) / len(rows) * 100 <= MOST_POINTS else 1


if __name__ == "__main__":
    sys.exit(main())
