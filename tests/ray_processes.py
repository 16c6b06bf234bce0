"""The workers of Ray below a process, as Linux tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def workers_of(process: int) -> list[int]:
    """The processes below this one that score the rows of a table."""
    parents, found = {}, []
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            number = int(place.name)
            parents[number] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if (place / "cmdline").read_text().startswith("ray::ScoringWorker"):
                found.append(number)
    return [number for number in found if process in _ancestors(number, parents)]


def _ancestors(number: int, parents: dict[int, int]) -> Iterator[int]:
    while number := parents.get(number, 0):
        yield number
