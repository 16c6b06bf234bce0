"""A table of figures over several draws."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table


def show_means(title: str, found: list[dict[str, float]]) -> None:
    """Print the mean of each figure with its standard error, which one draw alone does not have.

    Args:
        title: What was measured.
        found: The figures of each draw, all with the same names.
    """
    table = Table(title=title)
    for heading in ("", "mean", "standard error"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in found[0]:
        values = [figures[name] for figures in found]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        table.add_row(name, f"{statistics.mean(values):.4f}", f"{error:.4f}")
    Console().print(table)
