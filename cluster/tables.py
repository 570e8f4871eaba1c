"""The tables of the queue's file, and its rows as jobs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.errors import OutputError
from .jobs import ResultFile, VideoJob

VERSION = 2
"""Of the tables; a file of another one is refused."""
COLUMNS = (
    "id", "state", "title", "model", "priority", "attempts", "strikes", "reached", "said", "error", "worker",
    "submitted_s", "started_s", "ended_s", "seat", "results",
)  # fmt: skip
"""Of a job, as `VideoJob` has them."""
# What is asked often is answered by an index that holds no more than what is asked for; what is large lies apart.
_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    title TEXT NOT NULL, model TEXT NOT NULL, priority INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    strikes INTEGER NOT NULL DEFAULT 0, reached INTEGER NOT NULL DEFAULT 0, said TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '', worker TEXT NOT NULL DEFAULT '', lease TEXT NOT NULL DEFAULT '',
    submitted_s REAL NOT NULL, started_s REAL NOT NULL DEFAULT 0, ended_s REAL NOT NULL DEFAULT 0,
    not_before_s REAL NOT NULL DEFAULT 0, results TEXT NOT NULL DEFAULT '[]', seat INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE requests (
    number INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE, content TEXT NOT NULL
);
CREATE TABLE used_files (
    digest TEXT NOT NULL, number INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    PRIMARY KEY (digest, number)
) WITHOUT ROWID;
CREATE INDEX used_by ON used_files (number);
CREATE INDEX waiting ON jobs (seat, priority DESC, number) WHERE state = 'queued';
CREATE INDEX waiting_for_model ON jobs (model, seat, priority DESC, number) WHERE state = 'queued';
CREATE INDEX running ON jobs (worker) WHERE state = 'running';
CREATE INDEX of_state ON jobs (state, number);
CREATE INDEX ended ON jobs (ended_s) WHERE ended_s > 0;
CREATE TABLE counts (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER counted_out AFTER DELETE ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = old.state;
END;
CREATE TRIGGER counted_over AFTER UPDATE OF state ON jobs WHEN old.state != new.state BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = old.state;
    INSERT INTO counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;
"""
_FROM_1 = """
ALTER TABLE jobs ADD COLUMN seat INTEGER NOT NULL DEFAULT 1;
DROP INDEX waiting;
DROP INDEX waiting_for_model;
CREATE INDEX waiting ON jobs (seat, priority DESC, number) WHERE state = 'queued';
CREATE INDEX waiting_for_model ON jobs (model, seat, priority DESC, number) WHERE state = 'queued';
"""


def open_tables(path: Path) -> sqlite3.Connection:
    """The queue's file, made where there is none, for this process alone.

    Raises:
        OutputError: another process has it, or it cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(
            f"The queue {path} cannot be opened ({error}). Check the folder, or give another one."
        ) from None
    try:
        # One process has it, so that its log needs no memory shared with others, which network folders do not have.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        with transaction(database):
            _make(database, path)
    except sqlite3.Error as error:
        database.close()
        is_taken = "locked" in str(error)
        advice = (
            "It is served already: end the other server, or give another folder" if is_taken else "Check its folder"
        )
        raise OutputError(f"The queue {path} cannot be used ({error}). {advice}.") from None
    return database


def _make(database: sqlite3.Connection, path: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    steps = {0: _TABLES, 1: _FROM_1, VERSION: ""}
    if version not in steps:
        raise OutputError(
            f"The queue {path} has form {version}, and this version reads {VERSION}. Give another folder."
        )
    for statement in _statements(steps[version]):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")


def _statements(text: str) -> Iterator[str]:
    """Statements one by one, as those of a transaction must be; a trigger's body has semicolons of its own."""
    waiting = ""
    for line in text.splitlines(keepends=True):
        waiting += line
        if sqlite3.complete_statement(waiting):
            yield waiting
            waiting = ""


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Inside, all is written or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:  # a border: whatever it is, nothing of it is written
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def as_job(row: tuple[Any, ...]) -> VideoJob:
    """A row of `COLUMNS`."""
    *values, results = row
    return VideoJob(*values, results=tuple(ResultFile(*each) for each in json.loads(results)))
