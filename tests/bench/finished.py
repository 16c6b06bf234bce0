"""Figures of finished draws, kept in a file, so that a bench that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Figures = dict[str, float]


class Finished:
    """Figures by what was measured, as JSON Lines. A line that a kill has cut off counts as missing.

    Args:
        path: The file. None keeps nothing.
    """

    def __init__(self, path: str | None) -> None:
        self.path = None if path is None else Path(path)
        self.known: dict[str, Figures] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path and self.path.exists() else []
        for line in lines:
            try:
                told = json.loads(line)
                self.known[told["of"]] = told["figures"]
            except (ValueError, KeyError, TypeError):
                continue

    def once(self, of: dict[str, object], measure: Callable[[], Figures]) -> Figures:
        """The figures of one draw, measured if they are not kept yet.

        Args:
            of: What tells this draw from any other: the part, the seed, the data and the settings.
            measure: Function that measures them.
        """
        key = json.dumps(of, sort_keys=True)
        if key not in self.known:
            self.known[key] = measure()
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(f"\n{json.dumps({'of': key, 'figures': self.known[key]})}\n")
        return self.known[key]
