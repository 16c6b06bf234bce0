"""No store writes into the database of another program, and one file may hold several of ours."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from dsplus_chains import Budget, ExperienceStore
from dsplus_chains.corpus import Journal
from dsplus_chains.corpus.answered import RunIdentity
from dsplus_chains.corpus.job_state import JobState
from dsplus_chains.running import database_owner
from dsplus_chains.running.database_owner import OURS
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.storage.answer_cache import SQLiteAnswerCache
from dsplus_chains.storage.sqlite_file import SQLiteFile

IDENTITY = RunIdentity(bundle="b", input="i", text="t", large="l")
STORES = {
    "budget": lambda path: Budget(max_tokens=10, path=path).ledger,
    "experience": ExperienceStore,
    "jobs": JobState,
    "answers": SQLiteAnswerCache,
    "journal": lambda path: Journal(path, IDENTITY),
}
OTHERS = ["CREATE TABLE orders (id)", "CREATE TABLE answers (id, said); CREATE TABLE jobs (x); CREATE TABLE spent (x)"]


def close(store):
    (store if hasattr(store, "close") else store._database).close()


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("tables", OTHERS)
def test_the_database_of_another_program_stays_as_it_is(tmp_path, name, tables):
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as shop:
        shop.executescript(tables)
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"of another program.*, with the tables .*; name another file"):
        STORES[name](path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", STORES)
def test_a_file_is_marked_and_one_from_before_there_were_marks_is_known_by_its_tables(tmp_path, name):
    path = tmp_path / "s.sqlite"
    for mark in (0, OURS):
        close(STORES[name](path))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA application_id").fetchone() == (OURS,)
            connection.execute(f"PRAGMA application_id = {mark}")


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_another_release_is_not_said_to_be_of_another_program_for_sure(tmp_path, name):
    path = tmp_path / "s.sqlite"
    close(STORES[name](path))
    with closing(sqlite3.connect(path)) as connection:
        for table in database_owner._named(connection):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN of_another_release")
        connection.execute("PRAGMA application_id = 0")
    with pytest.raises(InvalidInputError, match=r"program or of another release of dsplus_chains, with the tables"):
        STORES[name](path)


def test_several_stores_may_share_a_file(tmp_path):
    path = tmp_path / "s.sqlite"
    for name in ("budget", "experience", "jobs", "answers", "budget"):
        close(STORES[name](path))
    with closing(sqlite3.connect(path)) as connection:
        tables = database_owner._named(connection)
    alone = tmp_path / "alone.sqlite"
    close(STORES["experience"](alone))
    with closing(sqlite3.connect(alone)) as connection:
        own = database_owner._named(connection)
    assert own.items() < tables.items(), "each store has all of its tables, beside those of the others"


def test_another_store_may_appear_in_a_new_file_while_ours_is_opened(tmp_path, monkeypatch):
    path, named, opened = tmp_path / "s.sqlite", database_owner._named, []

    def slow(connection):
        if not opened:
            opened.append(None)
            opened.append(ExperienceStore(path))
        return named(connection)

    monkeypatch.setattr(database_owner, "_named", slow)
    close(STORES["budget"](path))
    assert len(opened) == 2
    close(opened[1])


def test_kept_answers_are_marked_before_there_are_tables(tmp_path):
    path = tmp_path / "s.sqlite"
    cut_short = ["CREATE TABLE one (a)", "INSERT INTO one VALUES (zeroblob(1000))"]
    with pytest.raises(sqlite3.DataError, match="too big"):
        SQLiteFile(path, setup=cut_short, largest=500).run("SELECT 1")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (OURS,)
