"""Measures the search for nearest neighbours by cells beside the exact one: time of a query, recall, and time to build.

    python tests/bench/neighbors.py [--vectors 1000000] [--table FILE.npy]

The vectors are made: points around clustered centres in a space of 16 dimensions, which is turned into one of 384, with
a little noise. With --table they are the rows of an array, such as an encoder's. The queries are drawn as the vectors
are, and are none of them. Times are medians over interleaved runs. Exits with 1 if too few neighbours are found.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from overhead import medians
from rich.console import Console
from rich.table import Table

from dsplus_chains.encoding import neighbor_index as module
from dsplus_chains.encoding.neighbor_index import Cells, Search, cells_of, neighbor_index

HIDDEN, CLUSTERS, NOISE = 16, 2000, 0.1
BLOCK = 50_000
LEAST = 0.97
"""Least recall on queries that are no vectors of the index, for which `RECALL` was measured."""


def clustered(n: int, width: int, seed: int) -> NDArray[np.float32]:
    """Vectors around centres."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(CLUSTERS, HIDDEN)).astype(np.float32)
    turn = draw.normal(size=(HIDDEN, width)).astype(np.float32) / np.float32(np.sqrt(HIDDEN))
    vectors = np.empty((n, width), dtype=np.float32)
    for start in range(0, n, BLOCK):
        part = vectors[start : start + BLOCK]
        hidden = centres[draw.integers(CLUSTERS, size=len(part))]
        hidden = hidden + draw.standard_normal(hidden.shape, dtype=np.float32)
        np.matmul(hidden, turn, out=part)
        part += NOISE * draw.standard_normal(part.shape, dtype=np.float32)
    return vectors


def recall(found: NDArray[Any], known: NDArray[Any]) -> float:
    """Share of the known rows that are found."""
    hits = [len(set(some) & set(all_)) for some, all_ in zip(found.tolist(), known.tolist(), strict=True)]
    return sum(hits) / known.size


def built(vectors: NDArray[np.float32], most_exact: int, cells: Cells | None = None) -> tuple[Search, float]:
    """The index of vectors, and the seconds that it took."""
    module.MOST_EXACT = most_exact
    started = time.perf_counter()
    return neighbor_index(vectors, cells), time.perf_counter() - started


def main() -> int:
    """Build, search, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--table", type=Path, help="an array of vectors, in the place of made ones")
    parser.add_argument("--queries", type=int, default=500, help="number of queries of which the recall is taken")
    parser.add_argument("--neighbors", type=int, nargs="+", default=[6, 20, 50])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    given = options.vectors + options.queries
    everything = clustered(given, options.width, 0) if options.table is None else np.load(options.table)
    queries, vectors = everything[: options.queries], everything[options.queries : given]
    exact, slow_build = built(vectors, len(vectors))
    cells, build = built(vectors, 0)
    _, again = built(vectors, 0, cells_of(vectors))
    k = options.neighbors[0]
    tasks = [partial(search, queries[:200], k) for search in (exact, cells)]
    tasks += [partial(search, queries[:1], k) for search in (exact, cells)]
    many, many_cells, one, one_cells = medians(options.runs, *tasks)

    what = "made, clustered" if options.table is None else options.table.name
    table = Table("what", "exact", "by cells", "ratio", title=f"{len(vectors):,} vectors x {vectors.shape[1]}, {what}")
    table.add_row("build, s", f"{slow_build:.1f}", f"{build:.1f}")
    table.add_row("build with cells that are known, s", "", f"{again:.1f}")
    for name, before, after in (("200 queries", many / 200, many_cells / 200), ("one query", one, one_cells)):
        table.add_row(f"{name}, ms a query", f"{1e3 * before:.2f}", f"{1e3 * after:.2f}", f"{before / after:.0f} x")
    known, worst = exact(queries, max(options.neighbors))[1], 1.0
    for k in options.neighbors:
        share = recall(cells(queries, k)[1], known[:, :k])
        worst = min(worst, share)
        table.add_row(f"recall of {k} neighbours", "", f"{share:.3f}", f"bound {LEAST}")
    Console().print(table)
    return 0 if worst >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
