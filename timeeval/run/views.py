"""What people see of a run: the results table, read from the journal's rows."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.plain import item, line
from timeeval.run.model import Outcome
from timeeval.times import Times

if TYPE_CHECKING:
    import pandas as pd

    from timeeval.experiment import Experiment
    from timeeval.run.records import ResultRow


class Status(Enum):
    """How an experiment ended, as the results table says it."""

    OK = 0
    ERROR = 1
    TIMEOUT = 2
    OOM = 3


RESULT_KEYS = (
    "algorithm",
    "collection",
    "dataset",
    "algo_training_type",
    "algo_input_dimensionality",
    "dataset_training_type",
    "dataset_input_dimensionality",
    "train_preprocess_time",
    "train_main_time",
    "execute_preprocess_time",
    "execute_main_time",
    "execute_postprocess_time",
    "status",
    "error_message",
    "repetition",
    "hyper_params",
    "hyper_params_id",
)
"""Columns of a table without rows."""

_STATUS = {
    Outcome.OK: Status.OK,
    Outcome.ERROR: Status.ERROR,
    Outcome.TIMEOUT: Status.TIMEOUT,
    Outcome.OOM: Status.OOM,
    Outcome.INFRA: Status.ERROR,
    Outcome.CANCELLED: Status.ERROR,
}


def details_of(experiment: Experiment) -> dict[str, str]:
    """Return what a result row says of an experiment beside its cell: enum names, upper case."""
    return {
        "algo_training_type": experiment.algorithm.training_type.name,
        "algo_input_dimensionality": experiment.algorithm.input_dimensionality.name,
        "dataset_training_type": experiment.dataset.training_type.name,
        "dataset_input_dimensionality": experiment.dataset.input_dimensionality.name,
    }


def result_row(row: ResultRow, metric_names: Sequence[str], *, distributed: bool) -> dict[str, Any]:
    """Return one row of the results table by column name, in the order TimeEval 1.5 has.

    Parameters
    ----------
    row : ResultRow
        A cell with an outcome.
    metric_names : sequence of str
        Columns of the metrics.
    distributed : bool
        A distributed run has metrics before times and all five times always.
    """
    assert row.outcome is not None  # noqa: S101 - callers leave out what did not run
    status = _STATUS[row.outcome]
    error = row.error
    if row.outcome in (Outcome.INFRA, Outcome.CANCELLED):
        error = f"{row.outcome.value}: {error}"
    fields: dict[str, Any] = {
        "algorithm": row.cell.algorithm,
        "collection": row.cell.collection,
        "dataset": row.cell.dataset,
        **row.details,
        "status": status,
        "error_message": error,
        "repetition": row.cell.repetition,
        "hyper_params_id": row.cell.hyper_params_id,
    }
    if distributed and status is Status.OK:
        fields["error_message"] = None
    if row.hyper_params is not None or distributed:
        fields["hyper_params"] = row.hyper_params
    failed = status is not Status.OK
    metrics = {name: _number(row.metrics.get(name)) for name in metric_names if failed or name in row.metrics}
    times = {name: _number(value) for name, value in row.times.items()}
    if distributed:
        return {**fields, **metrics, **{name: times.get(name, math.nan) for name in Times.result_keys()}}
    return {**fields, **times, **metrics}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def results_frame(
    rows: Iterable[ResultRow], columns: Sequence[str], metric_names: Sequence[str], *, distributed: bool
) -> pd.DataFrame:
    """Return the results table: one row per experiment with an outcome, in the order of the grid.

    Parameters
    ----------
    rows : iterable of ResultRow
        The grid of a run.
    columns : sequence of str
        Columns of the table while it is empty.
    metric_names : sequence of str
        Columns of the metrics.
    distributed : bool
        Chooses the order of columns.
    """
    import pandas as pd

    found: dict[str, list[Any]] = {}
    texts: dict[str, str] = {}  # of many rows with one text, one text is kept
    count = 0
    for row in rows:
        if row.outcome is None:
            continue
        fields = result_row(row, metric_names, distributed=distributed)
        for name in fields:
            if name not in found:
                found[name] = [math.nan] * count
        for name, values in found.items():
            value = fields.get(name, math.nan)
            values.append(texts.setdefault(value, value) if type(value) is str else value)
        count += 1
    if not count:
        return pd.DataFrame(columns=list(columns))
    frame = pd.DataFrame(found)
    frame["status"] = frame["status"].astype(object)
    return frame.infer_objects()


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write the table atomically: a reader sees the old or the new one, never a part."""
    partial = path.with_name(f"{path.name}.part")
    try:
        frame.to_csv(partial, index=False)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def shown_row(row: ResultRow) -> dict[str, Any]:
    """Return a row with everything the journal knows, JSON-able, for `timeeval-results show`."""
    return {
        "algorithm": row.cell.algorithm,
        "collection": row.cell.collection,
        "dataset": row.cell.dataset,
        "hyper_params_id": row.cell.hyper_params_id,
        "repetition": row.cell.repetition,
        "outcome": None if row.outcome is None else row.outcome.value,
        "cached": row.cached,
        "status": None if row.outcome is None else str(_STATUS[row.outcome]),
        "host": row.host,
        "attempt": row.attempt,
        "attempts": row.number,
        "error": row.error,
        "hyper_params": row.hyper_params,
        **_plain(row.details),
        "times": _plain(row.times),
        "metrics": _plain(row.metrics),
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "cpu_seconds": row.cpu_seconds,
        "peak_memory": row.peak_memory,
    }


def shown_table(rows: Sequence[ResultRow]) -> str:
    """Return the rows as a table for people: one line per experiment, and how many ended how."""
    if not rows:
        return "no experiments"
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    header = ["algorithm", "dataset", "parameters", "rep", "outcome", "host", "seconds", "cpu", "memory", *metrics]
    grid = [header, *([*_left_columns(row), *(_short(row.metrics.get(name)) for name in metrics)] for row in rows)]
    grid = [[line(cell) for cell in cells] for cells in grid]
    widths = [max(len(cells[column]) for cells in grid) for column in range(len(header))]
    table = ["  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip() for cells in grid]
    counts = Counter(map(_outcome, rows))
    hosts = {row.host for row in rows if row.host is not None}
    table.append(f"{', '.join(f'{count} {name}' for name, count in counts.items())}; {len(hosts)} hosts")
    errors = [row for row in rows if row.error]
    said = [f"{row.cell.algorithm} on {row.cell.collection}/{row.cell.dataset}: {row.error}" for row in errors]
    table += [item(each, sys.maxsize) for each in said]
    return "\n".join(table)


def shown_line(row: ResultRow) -> str:
    """Return a row as one line for people, for `timeeval-results watch`."""
    algorithm, dataset, parameters, repetition, outcome, host, seconds, *_ = _left_columns(row)
    place = f"  {host}" if host else ""
    took = f"  {seconds} s" if seconds else ""
    error = f"  {row.error.splitlines()[0]}" if row.error else ""
    return line(f"{outcome}  {algorithm}  {dataset}  {parameters}  rep {repetition}{place}{took}{error}")


def _outcome(row: ResultRow) -> str:
    """Say how a cell ended; what an earlier run of the folder computed is cached."""
    if row.outcome is None:
        return "not run"
    if row.outcome is Outcome.OK and row.cached:
        return "cached"
    return f"{row.outcome.value} (cached)" if row.cached else row.outcome.value


def _left_columns(row: ResultRow) -> list[str]:
    took = None if row.started_at is None or row.ended_at is None else row.ended_at - row.started_at
    return [
        row.cell.algorithm,
        f"{row.cell.collection}/{row.cell.dataset}",
        row.hyper_params or row.cell.hyper_params_id[:8],
        str(row.cell.repetition),
        _outcome(row),
        row.host or "",
        "" if took is None else f"{took:.2f}",
        "" if row.cpu_seconds is None else f"{row.cpu_seconds:.2f}",
        "" if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f} MB",
    ]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values)
