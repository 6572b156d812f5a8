"""results.csv as the journal has it, at any time and without the script that ran."""

from __future__ import annotations

from pathlib import Path

from timeeval.constants import RESULTS_CSV
from timeeval.errors import JournalError, ResultsError
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.views import RESULT_KEYS, results_frame, write_csv


def export(results_path: Path, output: Path | None = None) -> tuple[Path, int]:
    """Write the results table of a folder's latest run.

    Parameters
    ----------
    results_path : Path
        The results folder.
    output : Path, optional
        Where to; default: ``results.csv`` in the folder.

    Returns
    -------
    tuple of (Path, int)
        The file, and how many experiments are in it.

    Raises
    ------
    timeeval.errors.TimeEvalError
        If there is no run, or the file cannot be written.
    """
    target = output or results_path / RESULTS_CSV
    with Journal.read(results_path / FILE_NAME) as journal:
        runs = journal.runs()
        if not runs:
            raise JournalError(f"no run has begun in {results_path}", remedy="Start one with timeeval-run")
        run = runs[-1]
        names = list(run.metrics)
        # journals of earlier versions do not say it; their local engine was never asked for a distributed run
        distributed = bool(run.info.get("distributed", run.info.get("engine") != "local"))
        frame = results_frame(journal.each_row(run.id), [*RESULT_KEYS, *names], names, distributed=distributed)
    try:
        write_csv(frame, target)
    except OSError as error:
        raise ResultsError(f"{target} could not be written: {error.strerror}", remedy="Name another with -o") from error
    return target, len(frame)
