"""`SqlVerifier` runs a candidate's query on a copy of a database, and compares the results."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from dsplus_chains.running.batch_runnable import ComputingRunnable, by_row
from dsplus_chains.schema import InvalidInputError, shorten, shown
from dsplus_chains.verifying.candidate_verdict import Check, Reader, Verdict, checked_record, read_from
from dsplus_chains.verifying.fenced_code import code_in
from dsplus_chains.verifying.query_rows import QueryRow, are_same_rows, has_order, rows_of

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_FUNCTION}
_FORBIDDEN = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_STEPS = 50
"""Instructions of SQLite's machine after which the clock is looked at. One may search a whole value."""
_MOST_BYTES = 10_000_000
"""Most bytes of a result."""
_SEARCHED = 1_000
"""Most characters of a pattern, or of those that `trim` takes away. The time is that times the length of the value."""
_TRIMS = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: _SEARCHED,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,  # all values of a row are in memory at once
}


class SqlVerifier(ComputingRunnable[Any, Verdict]):
    r"""A verifier that runs a SQLite query on a copy of a database in memory, where it can only read.

    It takes a record with a `candidate`, which may be fenced as in Markdown. The check "runs" passes if the query gives
    a result. If results are expected, the check "result" compares with them, integers exactly, and other numbers by
    their first nine digits. A result has at most ten megabytes and 500 columns. A query that takes long to compile is
    not stopped.

    Args:
        database: Path of the database, or a function of the record that gives one. It is opened read-only, and copied.
        expected: Key of the record, or a function of it, for the expected rows, or for a query that gives them. None
            means that nothing is known.
        ordered: Whether the order of rows counts. None means that it does if the expected query has ``ORDER BY``.
            Where rows are expected, and no query, it does if the candidate does.
        seconds: Time that one query may take.
        rows: Largest number of rows of a result.
        largest: Most bytes of one value that a query may read or make, by default a million. SQLite cannot be stopped
            while it searches one, and holds all values of a row at once. So a hostile query may take some seconds for
            each search, and a gigabyte. With ten times as much a search takes minutes, and a row ten gigabytes.

    Raises:
        InvalidInputError: The input has no `candidate` or no expected result. What is expected are no rows, or a query
            that fails or exceeds a limit. Or the database cannot be read.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/shop.db"
        >>> with sqlite3.connect(path) as shop:
        ...     _ = shop.executescript("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2);")
        >>> verifier = SqlVerifier(database=path, expected="rows")
        >>> verifier.invoke({"candidate": "SELECT n FROM t", "rows": [[2], [1]]}).passed
        True
        >>> verifier.invoke({"candidate": "DROP TABLE t", "rows": []}).report
        'runs: failed (not authorized)\nresult: failed'
    """

    input_type: ClassVar[Any] = dict[str, Any]
    output_type: ClassVar[Any] = Verdict

    database: str | Path | Callable[[Mapping[str, Any]], str | Path]
    expected: Reader | None = None
    ordered: bool | None = None
    seconds: float = Field(default=1.0, gt=0)
    rows: int = Field(default=10_000, ge=1)
    largest: int = Field(default=1_000_000, ge=1, lt=1 << 30)

    @override
    def _compute(self, inputs: list[Any]) -> list[Any]:
        copies: dict[str, sqlite3.Connection] = {}
        try:
            return by_row(lambda record: self._verdict(record, copies), inputs)
        finally:
            for copy in copies.values():
                copy.close()

    def _verdict(self, record: Any, copies: dict[str, sqlite3.Connection]) -> Verdict:
        checked_record(record)
        path = str(self.database(record) if callable(self.database) else self.database)
        if path not in copies:
            copies[path] = _copy(path, self.largest)
        query = code_in(record["candidate"]).strip()
        expected, ordered = self._expected(record, copies[path])
        try:
            found = self._result(copies[path], query)
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
            checks = [Check(name="runs", status="failed", detail=shorten(str(error), 300))]
            return Verdict(checks=(*checks, *([] if expected is None else [Check(name="result", status="failed")])))
        checks = [Check(name="runs", status="passed")]
        if expected is not None:
            is_same = are_same_rows(found, expected, ordered=has_order(query) if ordered is None else ordered)
            detail = "" if is_same else f"got {len(found)} rows: {shown(found)}"
            checks.append(Check(name="result", status="passed" if is_same else "failed", detail=detail))
        return Verdict(checks=tuple(checks))

    def _expected(
        self, record: Mapping[str, Any], copy: sqlite3.Connection
    ) -> tuple[list[QueryRow] | None, bool | None]:
        """The expected rows, or None, and whether their order counts, or None if the candidate tells."""
        if self.expected is None:
            return None, self.ordered
        given = read_from(record, self.expected, "expected")
        if not isinstance(given, str):
            return rows_of(given), self.ordered
        try:
            rows = self._result(copy, given)
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
            what = (
                f"{error}; or give more `largest=`, `rows=` or `seconds=`" if isinstance(error, ValueError) else error
            )
            msg = f"Got the expected query {shown(given)}, but {what}"
            raise InvalidInputError(msg) from error
        return rows, has_order(given) if self.ordered is None else self.ordered

    def _result(self, copy: sqlite3.Connection, query: str) -> list[QueryRow]:
        """The rows that a query gives.

        Raises:
            sqlite3.Error: The query is wrong or none, or may not be run.
            ValueError: The query gives too much, or takes too long.
        """
        late = f"takes more than {self.seconds:g} seconds"
        until = time.monotonic() + self.seconds
        copy.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        found: list[QueryRow] = []
        size, excess = 0, ""
        try:
            with closing(copy.execute(query)) as rows:
                if rows.description is None:  # it is empty, or a comment
                    msg = "it is no query, and gives no result"
                    raise sqlite3.ProgrammingError(msg)
                for row in rows:
                    found.append(row)
                    size += sum(len(cell) if isinstance(cell, (str, bytes)) else 8 for cell in row)
                    excess = self._excess(len(found), size) or late * (time.monotonic() > until)
                    if excess:
                        break
        except sqlite3.Error as error:
            too_long = f"reads or makes a value of more than {self.largest:,} bytes, or trims a long list of characters"
            reasons = {sqlite3.SQLITE_INTERRUPT: late, sqlite3.SQLITE_TOOBIG: too_long}
            excess = reasons.get(getattr(error, "sqlite_errorcode", 0), "")
            if not excess:
                raise
        if excess:
            msg = f"it {excess}; expected a query that reads what is asked for, and no more"
            raise ValueError(msg)
        return found

    def _excess(self, rows: int, size: int) -> str:
        """What a result has too much of, or an empty text."""
        if rows > self.rows:
            return f"gives more than {self.rows:,} rows"
        return f"gives more than {_MOST_BYTES:,} bytes" if size > _MOST_BYTES else ""


def _copy(path: str, largest: int) -> sqlite3.Connection:
    """A copy of a database in memory, in which nothing but reading is allowed."""
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        original = sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)
        try:
            original.backup(copy)
        finally:
            original.close()
    except sqlite3.Error as error:
        copy.close()
        msg = f"Got database={path!r}, which cannot be read ({error})"
        raise InvalidInputError(msg) from error
    copy.execute("SELECT 1 FROM sqlite_master").close()  # tables may have more columns than a result
    for name, limit in {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: largest}.items():
        copy.setlimit(name, limit)
    for trim in _TRIMS:
        copy.create_function(trim, 2, partial(_trimmed, trim), deterministic=True)
    copy.set_authorizer(_may)
    return copy


def _trimmed(trim: str, value: Any, characters: Any) -> Any:
    """What SQLite's own function gives. To take a million characters away from as many, that needs half an hour."""
    if isinstance(characters, (str, bytes)) and len(characters) > _SEARCHED:
        raise OverflowError  # which SQLite tells as a value that is too large
    if isinstance(value, str) and isinstance(characters, str):
        return _TRIMS[trim](value, characters)
    with closing(sqlite3.connect(":memory:")) as plain:  # which knows how it reads numbers and bytes
        return plain.execute(f"SELECT {trim}(?, ?)", (value, characters)).fetchone()[0]


def _may(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    is_harmless = action in _READING and not (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN)
    return sqlite3.SQLITE_OK if is_harmless else sqlite3.SQLITE_DENY
