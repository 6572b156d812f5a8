"""The run's journal: a SQLite file in the results folder that only the driver's run process writes.

A committed row survives a killed process and a power cut (`synchronous = FULL`); on a network file system, where
shared-memory maps of a write-ahead log are not safe, a rollback journal is used instead. Everything a user sees of a
run (results.csv, the results frame, resume, `timeeval-results`) is read from here.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from timeeval.errors import JournalError
from timeeval.plain import plain
from timeeval.run.filesystem import is_network_file_system
from timeeval.run.journal_file import check_version, create, lock_for_writing, take_back, told
from timeeval.run.journal_rows import each_row
from timeeval.run.model import (
    AttemptEnded,
    AttemptStarted,
    AttemptSuperseded,
    Execution,
    HostSetAside,
    Outcome,
    Report,
    Row,
)
from timeeval.run.records import Lacking, Limits, MetricIdentity, ResultRow, RunInfo, Scored

FILE_NAME = "journal.sqlite"


class Journal:
    """The journal of one results folder.

    Use `Journal.open` to write (one process at a time) and `Journal.read` to look while another process writes.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: TextIO | None) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._guard = threading.Lock()
        self._run: RunInfo | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for writing, creating the file if need be.

        Raises
        ------
        JournalError
            If another process writes to it, it is no journal, or a newer version wrote it.
        """
        with contextlib.ExitStack() as undo, told(path):
            lock = undo.enter_context(lock_for_writing(path))
            if not path.exists():
                create(path)
            connection = undo.enter_context(
                contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30))
            )
            check_version(connection, path)  # first: what is no journal stays as it is
            mode = "DELETE" if is_network_file_system(path) else "WAL"
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            undo.pop_all()
            return cls(path, connection, lock)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open an existing journal for reading, also while it is written.

        Raises
        ------
        JournalError
            If there is no journal at `path` or it cannot be read.
        """
        if not path.is_file():
            raise JournalError(f"there is no journal at {path}", remedy="name a results folder of timeeval-run")
        with contextlib.ExitStack() as undo, told(path):
            take_back(path)
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = undo.enter_context(
                contextlib.closing(sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=30))
            )
            check_version(connection, path)
            undo.pop_all()
            return cls(path, connection, None)

    def close(self) -> None:
        """Close the file and let others write; what is left is one plain file, unless somebody looks at it now."""
        with self._guard:
            if self._lock is not None:
                with contextlib.suppress(sqlite3.DatabaseError):  # a reader: the write-ahead log stays beside it
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def begin_run(self, run: RunInfo, grid: Iterable[tuple[Execution, Mapping[str, Any]]]) -> None:
        """Record a run and its grid (execution and JSON-able details of each cell, in order) in one transaction."""
        texts: dict[int, str] = {}
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO run (id, number, grid_digest, limits, metrics, info, started)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id,
                    run.number,
                    run.grid_digest,
                    json.dumps(asdict(run.limits)),
                    json.dumps({name: [m.arguments, m.definition] for name, m in run.metrics.items()}),
                    json.dumps(dict(run.info)),
                    run.started,
                ),
            )
            for position, (execution, details) in enumerate(grid):
                cell = execution.cell
                connection.execute(
                    "INSERT INTO execution VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                    (
                        execution.key,
                        cell.algorithm,
                        cell.collection,
                        cell.dataset,
                        cell.hyper_params_id,
                        cell.repetition,
                        texts.get(id(details)) or texts.setdefault(id(details), json.dumps(dict(details))),
                    ),
                )
                connection.execute("INSERT INTO grid VALUES (?, ?, ?)", (run.id, position, execution.key))
        self._run = run

    def end_run(self, at: float, reason: str) -> None:
        """Record that the run ended (`reason` empty: all its work is done)."""
        run = self._current()
        with self._transaction() as connection:
            connection.execute("UPDATE run SET ended = ?, reason = ? WHERE id = ?", (at, plain(reason), run.id))

    def write(self, rows: Sequence[Row]) -> None:
        """Make rows durable, all or none."""
        if not rows:
            return
        run = self._current()
        with self._transaction() as connection:
            for row in rows:
                match row:
                    case AttemptStarted(attempt, at):
                        connection.execute(
                            "INSERT INTO attempt (id, run, execution, number, host, sent_at) VALUES (?, ?, ?, ?, ?, ?)",
                            (attempt.id, run.id, attempt.execution, attempt.number, attempt.host, at),
                        )
                    case AttemptEnded(report):
                        _write_report(connection, report, run)
                    case AttemptSuperseded(report):
                        connection.execute(
                            "INSERT INTO superseded (attempt, report) VALUES (?, ?)", (report.attempt, report.to_json())
                        )
                    case HostSetAside(host, reason, at):
                        connection.execute(
                            "INSERT INTO host_event (run, host, reason, at) VALUES (?, ?, ?, ?)",
                            (run.id, host, plain(reason), at),
                        )

    def add_metrics(self, scored: Iterable[Scored]) -> None:
        """Record metrics that were computed of stored scores, for the executions that have them."""
        run = self._current()
        with self._transaction() as connection:
            for scores in scored:
                for name in scores.names:
                    _write_value(connection, scores.attempt, name, run.metrics[name], scores.values)

    def adopt(self, reports: Iterable[Report]) -> int:
        """Take in outcomes found on nodes of attempts that an earlier driver started and never saw end.

        Returns
        -------
        int
            How many became the record of their attempt; outcomes of attempts with an end are left alone.
        """
        adopted = 0
        with self._transaction() as connection:
            for report in reports:
                found = connection.execute(
                    "SELECT run.id, run.metrics FROM attempt JOIN run ON run.id = attempt.run"
                    " WHERE attempt.id = ? AND outcome IS NULL",
                    (report.attempt,),
                ).fetchone()
                if found is not None:
                    _write_report(connection, report, RunInfo(found[0], 0, "", 0.0, metrics=_metrics(found[1])))
                    adopted += 1
        return adopted

    # --- reading --------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunInfo]:
        """Return all runs of this folder, oldest first."""
        return [
            RunInfo(r[0], r[1], r[2], r[3], Limits(**json.loads(r[4])), _metrics(r[5]), json.loads(r[6]))
            for r in self._query(
                "SELECT id, number, grid_digest, started, limits, metrics, info FROM run ORDER BY started, rowid"
            )
        ]

    def finished(self, limits: Limits, retry: frozenset[Outcome] = frozenset()) -> dict[str, Outcome]:
        """Return the executions that need not run again, by key.

        An outcome in `retry`, one whose limit grew, and every outcome of the machinery are due again.
        """
        finished: dict[str, Outcome] = {}
        for key, text, before in self._query(
            "SELECT execution, outcome, run.limits FROM record JOIN run ON run.id = record.run"
        ):
            outcome = Outcome(text)
            if outcome in (Outcome.INFRA, Outcome.CANCELLED) or outcome in retry:
                continue
            if not limits.grew_for(outcome, Limits(**json.loads(before))):
                finished[key] = outcome
        return finished

    def lacking(self) -> dict[str, Lacking]:
        """Return the executions of the current run that ended well but without some metric of it, by key."""
        run = self._current()
        if not run.metrics:
            return {}
        wanted = ", ".join("(?, ?, ?)" for _ in run.metrics)
        found: dict[str, tuple[str, list[str]]] = {}
        for key, attempt, name in self._query(
            f"WITH wanted (name, arguments, definition) AS (VALUES {wanted})"  # noqa: S608 - placeholders
            " SELECT DISTINCT r.execution, r.id, w.name FROM grid JOIN record r ON r.execution = grid.execution"
            " CROSS JOIN wanted w WHERE grid.run = ? AND r.outcome = 'ok' AND NOT EXISTS ("
            "SELECT 1 FROM metric_value m WHERE m.execution = r.execution AND m.name = w.name"
            " AND m.arguments = w.arguments AND m.definition = w.definition)",
            [*(part for column, i in run.metrics.items() for part in (column, i.arguments, i.definition)), run.id],
        ):
            found.setdefault(key, (attempt, []))[1].append(name)
        return {key: Lacking(attempt, tuple(names)) for key, (attempt, names) in found.items()}

    def attempts_made(self) -> dict[str, int]:
        """Return the highest attempt number of each execution that had one."""
        return dict(self._query("SELECT execution, max(number) FROM attempt GROUP BY execution"))

    def mean_seconds(self) -> list[tuple[tuple[str, str, str], float]]:
        """Return how long attempts took that ended well or ran into their limit: (algorithm, collection, dataset)."""
        return [
            ((algorithm, collection, dataset), seconds)
            for algorithm, collection, dataset, seconds in self._query(
                "SELECT algorithm, collection, dataset, avg(ended_at - started_at) FROM attempt"
                " JOIN execution ON key = execution WHERE outcome IN ('ok', 'timeout') GROUP BY 1, 2, 3"
            )
        ]

    def open_attempts(self) -> list[tuple[str, str]]:
        """Return (attempt id, host) of attempts without an end."""
        return list(self._query("SELECT id, host FROM attempt WHERE outcome IS NULL ORDER BY sent_at"))

    def rows(self, run_id: str | None = None) -> list[ResultRow]:
        """Return the grid of a run (default: the latest) with the record of each cell."""
        if run_id is None:
            latest = self._query("SELECT id FROM run ORDER BY started DESC, rowid DESC LIMIT 1")
            if not latest:
                return []
            run_id = latest[0][0]
        return list(self.each_row(run_id))

    def each_row(self, run_id: str) -> Iterator[ResultRow]:
        """Go through the grid of a run with the record of each cell; nothing of it is held."""
        columns = _metrics(self._query("SELECT metrics FROM run WHERE id = ?", (run_id,))[0][0])
        return self._told(each_row(self._connection, self._guard, run_id, columns))

    def _told(self, rows: Iterator[ResultRow]) -> Iterator[ResultRow]:
        with told(self._path):
            yield from rows

    def superseded(self) -> list[Report]:
        """Return second and late outcomes."""
        return [Report.from_json(r[0]) for r in self._query("SELECT report FROM superseded ORDER BY id")]

    def hosts_set_aside(self, run_id: str) -> list[tuple[str, str]]:
        """Return (host, reason) for hosts that a run set aside."""
        return list(self._query("SELECT host, reason FROM host_event WHERE run = ? ORDER BY id", (run_id,)))

    @contextlib.contextmanager
    def still(self) -> Iterator[Callable[[str], sqlite3.Cursor]]:
        """Lend what queries the journal as it is at one moment."""
        with self._guard, told(self._path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection.execute
            finally:
                self._connection.execute("COMMIT")

    # --- inside ---------------------------------------------------------------------------------------------------

    def _current(self) -> RunInfo:
        if self._run is None:
            raise JournalError("no run has begun in this journal", remedy="call begin_run first")
        return self._run

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._guard, told(self._path):
            return self._connection.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard, told(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise


def _write_report(connection: sqlite3.Connection, report: Report, run: RunInfo) -> None:
    times = {name: value for name, value in report.values.items() if name not in run.metrics}
    changed = connection.execute(
        "UPDATE attempt SET outcome = ?, started_at = ?, ended_at = ?, error = ?, traceback = ?, hyper_params = ?,"
        " times = ?, cpu_seconds = ?, peak_memory = ? WHERE id = ? AND outcome IS NULL",
        (
            report.outcome.value,
            report.started,
            report.ended,
            plain(report.error),  # a report of the driver's own: what it quotes came from elsewhere
            plain(report.traceback),
            report.hyper_params,
            json.dumps(times),
            report.cpu_seconds,
            report.peak_memory,
            report.attempt,
        ),
    ).rowcount
    if changed != 1:
        raise JournalError(f"attempt {report.attempt} is not open: it ended before or never began")
    if report.outcome is Outcome.OK:
        # values of an earlier attempt belong to scores that this attempt's files have just taken the place of
        connection.execute(
            "DELETE FROM metric_value WHERE attempt <> ? AND execution = (SELECT execution FROM attempt WHERE id = ?)",
            (report.attempt, report.attempt),
        )
    for name, identity in run.metrics.items():
        if report.outcome is Outcome.OK or name in report.values:
            _write_value(connection, report.attempt, name, identity, report.values)


def _write_value(
    connection: sqlite3.Connection,
    attempt_id: str,
    name: str,
    identity: MetricIdentity,
    values: Mapping[str, float | None],
) -> None:
    """Write a metric of an attempt's scores; one that is not among the values has failed."""
    connection.execute(
        "INSERT INTO metric_value (execution, name, arguments, definition, value, failed, attempt)"
        " SELECT execution, ?, ?, ?, ?, ?, id FROM attempt WHERE id = ?"
        " ON CONFLICT DO UPDATE SET value = excluded.value, failed = excluded.failed, attempt = excluded.attempt",
        (name, identity.arguments, identity.definition, values.get(name), name not in values, attempt_id),
    )


def rows_of(path: Path, run_id: str) -> Iterator[ResultRow]:
    """Go through the grid of a run in a journal file."""
    with Journal.read(path) as journal:
        yield from journal.each_row(run_id)


def _metrics(text: str) -> dict[str, MetricIdentity]:
    return {name: MetricIdentity(*identity) for name, identity in json.loads(text).items()}
