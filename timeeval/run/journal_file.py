"""The journal as a file: made whole or not at all, of a known version, written by one process at a time."""

from __future__ import annotations

import fcntl
import os
import platform
import sqlite3
from pathlib import Path
from typing import TextIO

from timeeval.errors import JournalError
from timeeval.run import schema


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
    """Refuse a journal of another version."""
    version = int(connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0])
    if version != schema.VERSION:
        raise JournalError(
            f"{path} has journal version {version}, this program knows {schema.VERSION}",
            remedy="use the release of timeeval-cluster that wrote it",
        )


def lock_for_writing(path: Path) -> TextIO:
    """Hold the lock beside a journal until the returned file is closed; raises JournalError naming who holds it."""
    lock = Path(f"{path}.lock").open("a+", encoding="utf-8")  # noqa: SIM115 - held until the journal is closed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise JournalError(
            f"{path} is being written by {holder}", remedy="wait for that run to end, or stop it with Ctrl-C"
        ) from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {platform.node()}\n")
    lock.flush()
    return lock
