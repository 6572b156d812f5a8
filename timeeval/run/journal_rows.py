"""The rows of a run, read from its journal a few at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from timeeval.run import schema
from timeeval.run.model import Cell, Outcome
from timeeval.run.records import MetricIdentity, ResultRow

_ROWS_AT_ONCE = 500
_ROWS = (
    "SELECT e.key, e.algorithm, e.collection, e.dataset, e.hyper_params_id, e.repetition, e.details,"  # noqa: S608 - constants
    " a.outcome, a.host, a.id, a.number, a.error, a.hyper_params, a.times, a.started_at, a.ended_at,"
    " a.cpu_seconds, a.peak_memory, a.run"
    " FROM grid CROSS JOIN execution e ON e.key = grid.execution LEFT JOIN attempt a ON a.id = ("
    f"SELECT id FROM attempt one WHERE one.execution = e.key AND outcome IS NOT NULL ORDER BY {schema.RANKING} LIMIT 1)"
    " WHERE grid.run = ? ORDER BY grid.position"
)


def each_row(
    connection: sqlite3.Connection, guard: Lock, run_id: str, columns: Mapping[str, MetricIdentity]
) -> Iterator[ResultRow]:
    """Go through the grid of a run with the record of each cell.

    Parameters
    ----------
    connection : sqlite3.Connection
        To the journal.
    guard : Lock
        Held while it is used, and never while a row is worked on.
    run_id : str
    columns : mapping of str to MetricIdentity
        Metrics of the run, by column name.
    """
    with guard:
        cursor = connection.execute(_ROWS, (run_id,))
    details: dict[str, Any] = {}
    while True:
        with guard:
            found = cursor.fetchmany(_ROWS_AT_ONCE)
            values = _values(connection, [r[0] for r in found], columns)
        if not found:
            return
        for r in found:
            if r[6] not in details:
                details[r[6]] = json.loads(r[6])
            yield _row(r, details[r[6]], values.get(r[0], {}), columns, run_id)


def _values(
    connection: sqlite3.Connection, keys: Sequence[str], columns: Mapping[str, MetricIdentity]
) -> dict[str, dict[str, float | None]]:
    values: dict[str, dict[str, float | None]] = {}
    places = ", ".join("?" * len(keys))
    for key, name, arguments, definition, value in connection.execute(
        "SELECT execution, name, arguments, definition, value FROM metric_value"  # noqa: S608 - placeholders
        f" WHERE NOT failed AND execution IN ({places})",
        keys,
    ):
        identity = columns.get(name)
        if identity is not None and (identity.arguments, identity.definition) == (arguments, definition):
            values.setdefault(key, {})[name] = value
    return values


def _row(
    r: Sequence[Any],
    details: Mapping[str, Any],
    values: Mapping[str, float | None],
    columns: Mapping[str, MetricIdentity],
    run_id: str,
) -> ResultRow:
    return ResultRow(
        cell=Cell(*r[1:6]),
        key=r[0],
        details=details,
        outcome=None if r[7] is None else Outcome(r[7]),
        host=r[8],
        attempt=r[9],
        number=r[10],
        error=r[11] or "",
        hyper_params=r[12],
        times=json.loads(r[13]) if r[13] else {},
        metrics={name: values[name] for name in columns if name in values},
        started_at=r[14],
        ended_at=r[15],
        cpu_seconds=r[16],
        peak_memory=r[17],
        cached=r[18] is not None and r[18] != run_id,
    )
