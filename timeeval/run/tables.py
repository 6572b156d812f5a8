"""All tables of a journal as files that other programs read: Parquet or CSV."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from timeeval.errors import MissingExtraError, ResultsError
from timeeval.run.journal import FILE_NAME, Journal

_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the journal.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    columns : mapping of str to str
        Kind of each column: text, whole, number or truth. Times are Unix seconds, texts of several values are JSON.
    source : str
        Where the rows come from, in SQL.
    """

    name: str
    columns: dict[str, str]
    source: str

    @property
    def sql(self) -> str:
        """The query of all rows."""
        return f"SELECT {', '.join(self.columns)} FROM {self.source}"  # noqa: S608 - constants of this module


TABLES = (
    Table(
        "runs",
        {
            "id": "text",
            "number": "whole",
            "grid_digest": "text",
            "limits": "text",
            "metrics": "text",
            "info": "text",
            "started": "number",
            "ended": "number",
            "reason": "text",
        },
        "run ORDER BY started, rowid",
    ),
    Table("grid", {"run": "text", "position": "whole", "execution": "text"}, "grid ORDER BY run, position"),
    Table(
        "executions",
        {
            "key": "text",
            "algorithm": "text",
            "collection": "text",
            "dataset": "text",
            "hyper_params_id": "text",
            "repetition": "whole",
            "details": "text",
        },
        "execution ORDER BY rowid",
    ),
    Table(
        "attempts",
        {
            "id": "text",
            "run": "text",
            "execution": "text",
            "number": "whole",
            "host": "text",
            "sent_at": "number",
            "outcome": "text",
            "started_at": "number",
            "ended_at": "number",
            "error": "text",
            "traceback": "text",
            "hyper_params": "text",
            "times": "text",
            "cpu_seconds": "number",
            "peak_memory": "whole",
            "is_record": "truth",
        },
        "(SELECT attempt.*, attempt.id IN (SELECT id FROM record) AS is_record FROM attempt ORDER BY attempt.rowid)",
    ),
    Table(
        "metric_values",
        {
            "execution": "text",
            "name": "text",
            "arguments": "text",
            "definition": "text",
            "value": "number",
            "failed": "truth",
            "attempt": "text",
        },
        "metric_value ORDER BY execution, name, arguments, definition",
    ),
    Table("superseded", {"attempt": "text", "report": "text"}, "superseded ORDER BY id"),
    Table("host_events", {"run": "text", "host": "text", "reason": "text", "at": "number"}, "host_event ORDER BY id"),
)

Batches = Iterable[Sequence[tuple[Any, ...]]]


class Writer(Protocol):
    """Writes one table, a number of rows at a time."""

    def __call__(self, path: Path, table: Table, batches: Batches) -> None:
        """Write all rows to a file."""


def write_tables(results_path: Path, folder: Path, form: str) -> dict[Path, int]:
    """Write every table of a results folder's journal, as it is at one moment, also while the run goes on.

    Parameters
    ----------
    results_path : Path
        The results folder.
    folder : Path
        Where the files go; made if need be. Files of the same names are replaced.
    form : str
        ``"parquet"`` or ``"csv"``.

    Returns
    -------
    dict of Path to int
        The files, each with its number of rows.

    Raises
    ------
    MissingExtraError
        If Parquet is asked for and pyarrow is not installed.
    timeeval.errors.TimeEvalError
        If the journal cannot be read or a file cannot be written.
    """
    write = _parquet_writer() if form == "parquet" else _write_csv
    written: dict[Path, int] = {}
    with Journal.read(results_path / FILE_NAME) as journal, journal.still() as query:
        for table in TABLES:
            target = folder / f"{table.name}.{form}"
            counted = _Counted(query(table.sql))
            try:
                folder.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f"{target.name}.part")
                write(partial, table, counted)
                partial.replace(target)
            except OSError as error:
                raise ResultsError(
                    f"{target} could not be written: {error.strerror or error}", remedy="Name another folder with -o"
                ) from error
            written[target] = counted.rows
    return written


class _Counted:
    """What a query finds, some rows at a time; they are counted while they are gone through."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.rows = 0
        self._cursor = cursor

    def __iter__(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        while batch := self._cursor.fetchmany(_ROWS_AT_ONCE):
            self.rows += len(batch)
            yield batch


def _write_csv(path: Path, table: Table, batches: Batches) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        for batch in batches:
            writer.writerows(batch)


def _parquet_writer() -> Writer:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        if error.name not in {"pyarrow", "pyarrow.parquet"}:
            raise
        raise MissingExtraError(
            "Parquet files need pyarrow, which is not installed",
            remedy="Run `pip install 'timeeval-cluster[parquet]'` on this machine, or write CSV: --format csv",
        ) from error

    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
    convert: dict[str, Callable[[Any], Any]] = {"truth": lambda value: None if value is None else bool(value)}

    def write(path: Path, table: Table, batches: Batches) -> None:
        schema = pa.schema([(name, kinds[kind]) for name, kind in table.columns.items()])
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                columns = [
                    pa.array([convert[kind](value) for value in column] if kind in convert else column, kinds[kind])
                    for kind, column in zip(table.columns.values(), zip(*batch, strict=True), strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    return write
