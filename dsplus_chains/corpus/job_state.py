"""Which requests are in which batch job, on disk, so that a killed process finds its jobs again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from dsplus_chains.running.shared_database import SharedDatabase

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, id TEXT);
CREATE TABLE IF NOT EXISTS requests (key TEXT PRIMARY KEY, job TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS of_job ON requests (job);
"""
_FORGET_EMPTY = "DELETE FROM jobs WHERE NOT EXISTS (SELECT 1 FROM requests WHERE requests.job = jobs.name)"


class JobState:
    """The jobs that were begun, and the requests in each. It holds no text of a request or a reply.

    A job has a name of ours from before it is made. Its id comes from the server.

    Args:
        path: The file. It is made if it is missing. None keeps all in memory.

    Raises:
        InvalidInputError: The file cannot be opened, or is the database of another program.

    Example:
        >>> state = JobState(None)
        >>> state.begin("our-name", ["a", "b"])
        >>> state.submitted("our-name", "batch_1")
        >>> state.known(["a", "c"]), state.ids(["our-name"])
        ({'a': 'our-name'}, {'our-name': 'batch_1'})
    """

    def __init__(self, path: Path | None) -> None:
        self._database = SharedDatabase(path, _TABLES)

    def known(self, keys: Iterable[str]) -> dict[str, str]:
        """The name of each request's job. A request that is in none is left out."""
        return self._found("SELECT key, job FROM requests WHERE key", keys)

    def ids(self, names: Iterable[str]) -> dict[str, str | None]:
        """The id of each job; None where the server's word never came."""
        return self._found("SELECT name, id FROM jobs WHERE name", names)

    def begin(self, name: str, keys: Collection[str]) -> None:
        """Keep that a job is about to be made of these requests."""
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO jobs VALUES (?, NULL)", (name,))
            connection.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?)", [(key, name) for key in keys])

    def submitted(self, name: str, identifier: str) -> None:
        """Keep the id of a job."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET id = ? WHERE name = ?", (identifier, name))

    def forget(self, keys: Collection[str]) -> None:
        """Forget requests, so that the next call asks them anew. A job without any is forgotten too."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM requests WHERE key = ?", [(key,) for key in keys])
            connection.execute(_FORGET_EMPTY)

    def _found(self, statement: str, values: Iterable[str]) -> dict[str, Any]:
        with self._database.reading() as connection:
            rows = [connection.execute(f"{statement} = ?", (value,)).fetchone() for value in values]
        return dict(row for row in rows if row is not None)


def jobs_path(out: Path) -> Path:
    """The path of the file with an output's jobs, which is beside it."""
    return out.with_name(f"{out.name}.jobs.sqlite")
