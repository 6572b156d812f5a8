"""The journal as a file: made whole or not at all, of a known version, written by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from timeeval.errors import JournalError, JournalWriteError
from timeeval.run import schema

_UNWRITABLE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
)


def create(path: Path) -> None:
    """Make an empty journal under another name first: who reads sees all tables or no file."""
    new = Path(f"{path}.new")
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # executescript would commit in the middle
        connection.execute("BEGIN EXCLUSIVE")
        statement = ""
        for line in schema.TABLES.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                connection.execute(statement)
                statement = ""
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (str(schema.VERSION),))
        connection.execute("COMMIT")
    finally:
        connection.close()
    new.replace(path)


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no journal, or one of another version; nothing is written."""
    try:
        found = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):
            raise
        found = None
    if found is None:
        raise JournalError(f"{path} is a database, but no journal of a run", remedy="Name a results folder")
    if found[0] != str(schema.VERSION):
        raise JournalError(
            f"{path} has journal version {found[0]}, this program knows {schema.VERSION}",
            remedy="Use the release of timeeval-cluster that wrote it",
        )


def take_back(path: Path) -> None:
    """Take back what a dead writer left half done in a rollback journal, which who only reads could not."""
    if not Path(f"{path}-journal").exists():
        return
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Raise what SQLite complains of as a `JournalError` that names the file, the cause and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the low byte is the kind
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise JournalError(
                f"{path} cannot be used as a journal: {error}",
                remedy="Restore it from a copy, or start anew in another folder; it was left as it is",
            ) from error
        if code in _UNWRITABLE:
            raise JournalWriteError(
                f"{path} could not be written: {error}",
                remedy="See to the free space and the permissions there; --resume then goes on with what it holds",
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise JournalWriteError(
                f"{path} could not be written: another process has held it for too long",
                remedy="End what has it open; --resume then goes on with what it holds",
            ) from error
        raise


def lock_for_writing(path: Path) -> TextIO:
    """Hold the lock beside a journal until the returned file is closed; raises JournalError naming who holds it."""
    try:
        lock = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - held until the journal is closed
    except OSError as error:
        raise JournalWriteError(
            f"{path} cannot be written: {error.strerror}", remedy="Name a results folder that you may write to"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise JournalError(
            f"{path} is being written by {holder}",
            remedy=f"Wait for that run to end, or stop it with `timeeval-results stop {path.parent}`",
        ) from error
    with contextlib.suppress(OSError):  # a full disk: the lock holds, and the journal will say what is wrong
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}\n")
        lock.flush()
    return lock
