"""`Ledger`: what a budget has spent and reserved, in one SQLite file or in memory.

Each decision is one transaction that begins by taking the write lock. So neither threads nor processes can reserve the
same tokens twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dsplus_chains.running.shared_database import SharedDatabase, is_gone, this_process

PATIENCE = 120.0
"""Seconds that others wait for a call. One that takes longer still counts at its estimate."""

_TABLES = """
CREATE TABLE IF NOT EXISTS spent (
    period TEXT, model TEXT, calls INTEGER, cached INTEGER, guessed INTEGER, input INTEGER, output INTEGER, usd REAL,
    PRIMARY KEY (period, model)
);
CREATE TABLE IF NOT EXISTS reserved (
    id TEXT PRIMARY KEY, row TEXT, period TEXT, owner TEXT, until REAL, model TEXT, base INTEGER, input INTEGER,
    output INTEGER, usd REAL
);
CREATE TABLE IF NOT EXISTS arms (
    period TEXT, source TEXT, rows INTEGER, asked INTEGER, tokens INTEGER, usd REAL, PRIMARY KEY (period, source)
);
CREATE TABLE IF NOT EXISTS seen (
    model TEXT PRIMARY KEY, most INTEGER, most_usd REAL, ratio REAL, excess INTEGER, output INTEGER, base INTEGER,
    prompt_usd REAL
);
"""
_MARGIN = 1.1
"""What the tokens of a prompt may differ from those of earlier ones."""
_RESERVED = "SELECT coalesce(sum(input + output), 0), coalesce(sum(usd), 0), count(*) FROM reserved WHERE period = ?"
_PERIOD = {
    "spent": "SELECT * FROM spent WHERE period = ? ORDER BY rowid",
    "arms": "SELECT * FROM arms WHERE period = ? ORDER BY rowid",
}


class Call(NamedTuple):
    """What one call is expected to cost, or has cost."""

    model: str
    input: int
    output: int
    usd: float | None
    """Price of prompt and answer."""
    input_usd: float | None = None
    """Price of the prompt alone."""
    base: int = 0
    """Tokens of the prompt, as they were estimated before anything was learned of the model."""


class Seen(NamedTuple):
    """What settled calls of a model have shown."""

    ratio: float = 0.0
    """How many times its estimate a prompt was, at most. 0 if no provider has told."""
    excess: int = 0
    """By how many tokens it was longer, at most."""
    output: int = 0
    """How many tokens an answer had, at most."""

    def prompt(self, base: int) -> int:
        """Tokens of a prompt that was estimated at so many; rather too many than too few."""
        return ceil(base * min(1.0, _MARGIN * self.ratio or 1.0)) + self.excess


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens and US dollars."""

    tokens: int
    usd: float

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.usd - other.usd)


class Ledger:
    """What is spent and reserved.

    Args:
        path: The SQLite file. None keeps all in memory.
        most: The limits. An infinite one limits nothing.
        clock: Seconds since 1970.

    Raises:
        InvalidInputError: The file cannot be opened, or is the database of another program.
    """

    def __init__(self, path: Path | None, most: tuple[float, float], clock: Callable[[], float]) -> None:
        self._database = SharedDatabase(path, _TABLES)
        self._most = most
        self._clock = clock
        self.changes = 0
        """How often this process has given back something reserved. Whoever waits looks at it first."""

    def close(self) -> None:
        """Close the file, which has everything."""
        self._database.close()

    def begin_row(self, row: str, period: str) -> Literal["go", "wait", "spent"]:
        """Let a row begin, which may call the model, and hold for it what a row has cost at most.

        Rows go side by side while all of them fit for sure. After that they go one by one, and so they do until a first
        call has shown what one costs.
        """
        with self._database.transaction() as database:
            self._bury(database, period)
            sure, awaited, n = self._committed(database, period)
            most, most_usd = database.execute("SELECT max(most), max(most_usd) FROM seen").fetchone()
            models = database.execute(
                "SELECT ratio, excess, output, base, prompt_usd FROM seen WHERE model != ''"
            ).fetchall()
            least = min((Seen(*found[:3]).prompt(found[3]) for found in models), default=1)
            if not self._fits(sure, least, min((found[4] for found in models), default=0.0)):
                return "spent"
            if n and (most is None or not self._fits(sure + awaited, most, most_usd)):
                return "wait"
            self._insert(database, row, row, period, Call("", most or 0, 0, most_usd or 0.0))
            return "go"

    def reserve(self, call_id: str, row: str, period: str, call: Call) -> Literal["go", "busy", "spent"]:
        """Reserve a call, from what is held for its row and from what is left, if its prompt fits.

        It is "busy" if the prompt may fit once others have given back.
        """
        with self._database.transaction() as database:
            if database.execute("SELECT 1 FROM reserved WHERE id = ?", (call_id,)).fetchone():
                return "go"  # another handler has heard of it too
            found = database.execute("SELECT input, usd FROM reserved WHERE id = ?", (row,)).fetchone()
            held = Amount(*(found or (0, 0.0)))
            sure, awaited, _ = self._committed(database, period)
            own = Amount(call.input, call.input_usd or 0.0)
            if not self._fits(sure + awaited - held, own.tokens, own.usd):
                return "busy" if self._fits(sure, own.tokens, own.usd) else "spent"
            used = Amount(min(held.tokens, call.input + call.output), min(held.usd, call.usd or 0.0))
            self._hold(database, row, Amount(0, 0.0) - used)
            self._insert(database, call_id, row, period, call)
            return "go"

    def settle(self, call_id: str, cost: Call | None, kind: Literal["told", "guessed", "cached"]) -> None:
        """Count what a call has cost in place of what was reserved. None: it has cost nothing.

        What is left of the reservation stays held for its row, which may call again.
        """
        with self._database.transaction() as database:
            found = database.execute(
                "SELECT row, period, model, base, input, output, usd FROM reserved WHERE id = ?", (call_id,)
            ).fetchone()
            if found is None:
                return
            row, period, model, base, estimated, answer, usd = found
            database.execute("DELETE FROM reserved WHERE id = ?", (call_id,))
            paid = Amount(0, 0.0) if cost is None else Amount(cost.input + cost.output, cost.usd or 0.0)
            self._hold(
                database, row, Amount(max(0, estimated + answer - paid.tokens), max(0.0, (usd or 0.0) - paid.usd))
            )
            self.changes += 1
            if cost is None:
                return
            cached = kind == "cached"
            database.execute(
                "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "calls = calls + excluded.calls, cached = cached + excluded.cached, guessed = guessed + "
                "excluded.guessed, input = input + excluded.input, output = output + excluded.output, "
                "usd = usd + excluded.usd",
                (period, model, 1 - cached, cached, kind == "guessed", cost.input, cost.output, cost.usd),
            )
            if not cached:
                most = Amount(max(estimated + answer, paid.tokens), max(usd or 0.0, paid.usd))
                ratio, excess = (cost.input / max(base, 1), max(0, cost.input - base)) if kind == "told" else (0.0, 0)
                shown = (ratio, excess, cost.output, base, cost.input_usd or 0.0)
                self._learn(database, model, most, *shown)

    def leave(self, row: str, calls: Sequence[str], most: Amount) -> None:
        """End a row, whose calls were reserved with so much in all.

        Calls that nobody waits for any more count at their estimates until they are settled.
        """
        with self._database.transaction() as database:
            database.execute("DELETE FROM reserved WHERE id = ?", (row,))
            database.executemany("UPDATE reserved SET until = 0 WHERE id = ?", [(call,) for call in calls])
            if most.tokens and database.execute("SELECT 1 FROM seen").fetchone():
                self._learn(database, "", most)
            self.changes += 1

    def seen(self, model: str) -> Seen:
        """What settled calls of a model have shown."""
        query = "SELECT ratio, excess, output FROM seen WHERE model = ?"
        with self._database.reading() as database:
            found = database.execute(query, (model,)).fetchone()
        return Seen(*(found or ()))

    def count(self, period: str, rows: Sequence[tuple[str, bool, int, float | None]]) -> None:
        """Count answered rows: the source of each, whether a model was asked, and the cost of its calls."""
        with self._database.transaction() as database:
            database.executemany(
                "INSERT INTO arms VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + 1, "
                "asked = asked + excluded.asked, tokens = tokens + excluded.tokens, usd = usd + excluded.usd",
                [(period, *row) for row in rows],
            )

    def committed(self, period: str) -> tuple[Amount, Amount]:
        """What is spent, and what is reserved, of which some may be given back."""
        with self._database.transaction() as database:
            sums = database.execute(
                "SELECT coalesce(sum(input + output), 0), coalesce(sum(usd), 0) FROM spent WHERE period = ?", (period,)
            ).fetchone()
            reserved = database.execute(_RESERVED, (period,)).fetchone()
        return Amount(*sums), Amount(*reserved[:2])

    def table(self, name: Literal["spent", "arms"], period: str) -> list[Mapping[str, Any]]:
        """All that is kept of one period."""
        with self._database.reading() as database:
            found = database.execute(_PERIOD[name], (period,))
            columns = [column[0] for column in found.description]
            return [dict(zip(columns, row, strict=True)) for row in found]

    def forget(self) -> None:
        """Forget what is spent, and calls that nobody waits for. What was learned of the models stays."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM spent")
            database.execute("DELETE FROM arms")
            database.execute("DELETE FROM reserved WHERE until = 0")  # one that takes long may still be settled
            self.changes += 1

    def _fits(self, used: Amount, tokens: float, usd: float) -> bool:
        return used.tokens + tokens <= self._most[0] and used.usd + usd <= self._most[1]

    def _committed(self, database: sqlite3.Connection, period: str) -> tuple[Amount, Amount, int]:
        """What is spent for sure, what may be given back, and how many are under way."""
        now = self._clock()
        spent = database.execute(
            "SELECT coalesce(sum(input + output), 0), coalesce(sum(usd), 0) FROM spent WHERE period = ?", (period,)
        ).fetchone()
        left = database.execute(f"{_RESERVED} AND until <= ?", (period, now)).fetchone()
        awaited = database.execute(f"{_RESERVED} AND until > ?", (period, now)).fetchone()
        return Amount(spent[0] + left[0], spent[1] + left[1]), Amount(*awaited[:2]), awaited[2]

    def _insert(self, database: sqlite3.Connection, key: str, row: str, period: str, call: Call) -> None:
        until = self._clock() + PATIENCE
        database.execute(
            "INSERT INTO reserved VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, row, period, this_process(), until, call.model, call.base, call.input, call.output, call.usd),
        )

    def _hold(self, database: sqlite3.Connection, row: str, more: Amount) -> None:
        """Hold more or less for a row that has not ended."""
        database.execute(
            "UPDATE reserved SET input = input + ?, usd = usd + ? WHERE id = ?", (more.tokens, more.usd, row)
        )

    def _learn(self, database: sqlite3.Connection, model: str, most: Amount, *told: Any) -> None:
        """Keep what a call of a model has shown, or a row of whatever models."""
        database.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "most = max(most, excluded.most), most_usd = max(most_usd, excluded.most_usd), "
            "ratio = max(ratio, excluded.ratio), excess = max(excess, excluded.excess), "
            "output = max(output, excluded.output), base = min(base, excluded.base), "
            "prompt_usd = min(prompt_usd, excluded.prompt_usd)",
            (model, most.tokens, most.usd, *(told or [None] * 5)),
        )

    def _bury(self, database: sqlite3.Connection, period: str) -> None:
        """Wait no more for a process that is gone. Its calls count at their estimates."""
        owners = database.execute("SELECT DISTINCT owner FROM reserved WHERE period = ? AND until > 0", (period,))
        for (owner,) in owners.fetchall():
            if is_gone(owner):
                database.execute("DELETE FROM reserved WHERE owner = ? AND model = ''", (owner,))
                database.execute("UPDATE reserved SET until = 0 WHERE owner = ?", (owner,))
