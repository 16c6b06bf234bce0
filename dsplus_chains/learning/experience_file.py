"""`ExperienceFile`: decisions and gold labels in one SQLite file, which several processes may write to at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from dsplus_chains.learning.experience import CHOSEN_BY_ERRORS, Experience, hash_of_input
from dsplus_chains.learning.experience_rows import COLUMNS, Decision, label_text, pack, unpack
from dsplus_chains.running.batch_runnable import by_row
from dsplus_chains.running.forking import ForkLock
from dsplus_chains.running.shared_database import SharedDatabase
from dsplus_chains.running.telling import tell_once
from dsplus_chains.schema import InvalidInputError, describe_error, is_number, shown

DAY = 86_400.0
FORMAT = 2
"""Version of the tables, which the file holds as SQLite's `user_version`. New columns need a new one."""
_PAGE = 1_000
"""So many rows are read at once."""
_PURGE_EVERY = 3_600.0
"""Seconds between two looks for rows that are too old."""
_TABLES = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY, time REAL, text TEXT, text_hash TEXT, prediction TEXT, large TEXT, large_confidence REAL,
    rationale TEXT, fused TEXT, answer TEXT, source TEXT, tokens INTEGER, model_hash TEXT, task_hash TEXT
);
CREATE INDEX IF NOT EXISTS decisions_text_hash ON decisions (text_hash);
CREATE INDEX IF NOT EXISTS decisions_time ON decisions (time);
CREATE TABLE IF NOT EXISTS gold (text_hash TEXT PRIMARY KEY, gold TEXT, gold_origin TEXT);
"""
_INSERT = (
    "INSERT INTO decisions (time, text, text_hash, prediction, large, large_confidence, rationale, fused, answer, "
    "source, tokens, model_hash, task_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_GOLD = (
    "INSERT INTO gold VALUES (:key, :gold, :origin) ON CONFLICT (text_hash) DO UPDATE SET gold = :gold, gold_origin = "
    "CASE WHEN :origin IN by_errors AND gold_origin NOT IN by_errors THEN gold_origin ELSE :origin END"
).replace("by_errors", f"({', '.join(map(repr, CHOSEN_BY_ERRORS))})")
"""A corrected text stays in the sample that it is of."""
_SEEN = "SELECT 1 FROM decisions WHERE text_hash = ? LIMIT 1"
_SELECT = (
    "SELECT decisions.*, gold, gold_origin FROM decisions LEFT JOIN gold USING (text_hash) "
    "WHERE id > ? AND time >= ? ORDER BY id LIMIT ?"
)
_COUNT = "SELECT count(*) FROM decisions"
_FORGET = "DELETE FROM decisions WHERE time < ?"
_ORPHANS = "DELETE FROM gold WHERE text_hash NOT IN (SELECT text_hash FROM decisions)"


class ExperienceFile:
    """The file of an `ExperienceStore`, which says there what its arguments mean."""

    def __init__(
        self, path: Path | None, *, redact: Callable[[str], str] | None, keep_text: bool, keep_days: float | None
    ) -> None:
        _check_settings(redact, keep_text, keep_days)
        self.lost = 0
        self._name = str(path or ":memory:")
        self._redact, self._keep_text, self._keep_days = redact, keep_text, keep_days
        self._database = SharedDatabase(path, _TABLES)
        self._counting = ForkLock()
        self._purged = 0.0
        self._check_format()

    def _check_format(self) -> None:
        """Refuse a file with other tables. A new one gets the version.

        Raises:
            InvalidInputError: It has other tables.
        """
        with self._database.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(decisions)")]
            if version == 0 and columns == ["id", *COLUMNS]:  # it is new, or from before there were versions
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                version = FORMAT
        if version != FORMAT or columns != ["id", *COLUMNS]:
            self.close()
            msg = (
                f"Got the experience store {self._name} with tables of version {version} but expected {FORMAT}. "
                "Name another file, or read this one with the release of dsplus-chains that wrote it"
            )
            raise InvalidInputError(msg)

    def write(self, records: list[tuple[float, Mapping[str, Any]]]) -> None:
        """Write records, each with its time, in one transaction. What cannot be written is counted and told once."""
        self._purge()
        try:
            rows = by_row(lambda told: self._packed(Decision.of(told[1], told[0])), records)
            unfit = [row for row in rows if isinstance(row, Exception)]
            with self._database.transaction() as connection:
                for row in rows:
                    if isinstance(row, tuple):
                        try:
                            connection.execute(_INSERT, row)
                        except (OverflowError, sqlite3.DataError) as error:  # a number or a text that is too large
                            unfit.append(error)
            if unfit:
                self.lose(len(unfit), f"not fit to be kept: {describe_error(unfit[0])}")
        except Exception as error:
            self.lose(len(records), describe_error(error))

    def lose(self, n: int, why: str) -> None:
        """Count decisions that are not kept, and tell the first time."""
        with self._counting:
            self.lost += n
        told = f"The experience store {self._name} could not keep a decision, and counts such under `lost`: {why}"
        tell_once(told, "experience", self._name)

    def add(self, decisions: Sequence[Decision], labels: Sequence[Any], origin: str) -> None:
        """Attach true labels. A text that is new, or comes with a large answer, gets a row of its own."""
        self._purge()
        with self._database.transaction() as connection:
            for decision, label in zip(decisions, labels, strict=True):
                hashed = hash_of_input(decision.input)
                connection.execute(_GOLD, _gold(hashed, label, origin))
                if decision.large is not None or connection.execute(_SEEN, (hashed,)).fetchone() is None:
                    connection.execute(_INSERT, self._packed(decision))

    def attach(self, hashed: str, label: Any, origin: str) -> None:
        """Attach a true label to the text of a hash."""
        with self._database.transaction() as connection:
            connection.execute(_GOLD, _gold(hashed, label, origin))

    def rows(self, since: float) -> Iterator[Experience]:
        """The rows from a time on, in the order in which they were written."""
        self._purge()
        last, more = 0, True
        while more:
            with self._database.reading() as connection:
                found = connection.execute(_SELECT, (last, since, _PAGE)).fetchall()
            for number, *row in found:
                last = number
                yield unpack(dict(zip((*COLUMNS, "gold", "gold_origin"), row, strict=True)))
            more = len(found) == _PAGE

    def count(self) -> int:
        """Number of rows."""
        self._purge()
        with self._database.reading() as connection:
            return int(connection.execute(_COUNT).fetchone()[0])

    def forget(self, before: float) -> int:
        """Delete the rows from before a time, and the labels of texts of which none is left. Return how many rows.

        What is deleted is overwritten in the file.
        """
        with self._database.transaction() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            deleted = connection.execute(_FORGET, (before,)).rowcount
            if deleted:
                connection.execute(_ORPHANS)
        if deleted:
            with self._database.reading() as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the log beside the file still holds it
        return deleted

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _packed(self, decision: Decision) -> tuple[Any, ...]:
        return pack(decision, keep_text=self._keep_text, redact=self._redacted)

    def _redacted(self, text: str) -> str | None:
        """A text as it may be kept. None where the user's function fails: then only its hash is kept."""
        if self._redact is None:
            return text
        try:
            told = self._redact(text)
        except Exception as error:
            tell_once(f"redact= has failed, and such texts are not kept: {describe_error(error)}", "redact", self._name)
            return None
        return told if isinstance(told, str) else None

    def _purge(self) -> None:
        """Delete what is too old, from time to time."""
        now = time()
        if self._keep_days is not None and now - self._purged > _PURGE_EVERY:
            self._purged = now
            try:
                self.forget(now - self._keep_days * DAY)
            except Exception as error:
                told = f"The experience store {self._name} could not delete what is too old: {describe_error(error)}"
                tell_once(told, "retention", self._name)


def _gold(hashed: str, label: Any, origin: str) -> dict[str, Any]:
    """A true label, for `_GOLD`."""
    return {"key": hashed, "gold": label_text(label), "origin": origin}


def _check_settings(redact: Any, keep_text: Any, keep_days: Any) -> None:
    """Refuse settings with which texts would be lost, or kept against the user's will.

    Raises:
        InvalidInputError: One is of another kind.
    """
    if keep_days is not None and not (is_number(keep_days, least=0) and keep_days):
        msg = f"Got keep_days={shown(keep_days)} but expected a number of days above 0, or None to keep all"
        raise InvalidInputError(msg)
    if not (redact is None or callable(redact)):
        msg = f"Got redact={shown(redact)} but expected a function from text to text, or None to keep texts as they are"
        raise InvalidInputError(msg)
    if not isinstance(keep_text, bool):
        msg = f"Got keep_text={shown(keep_text)} but expected True or False"
        raise InvalidInputError(msg)
