"""Where things lie in a results folder, on the driver and on the nodes.

An attempt writes below ``.timeeval/attempts/<attempt>`` and its outcome to ``.timeeval/outcomes/<attempt>.json``; the
driver moves the files of the attempt that became the record to the experiment's own folder. So a lost, doubled or
broken attempt never shows under an experiment's name, and files of different hosts cannot meet.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from timeeval.errors import JournalError
from timeeval.run.journal import FILE_NAME
from timeeval.run.model import Cell, Report
from timeeval.utils.results_path import generate_experiment_path

PRIVATE = ".timeeval"


def work_dir(results_dir: Path, attempt_id: str) -> Path:
    """Return the folder that an attempt writes to."""
    return results_dir / PRIVATE / "attempts" / attempt_id


def outcome_file(results_dir: Path, attempt_id: str) -> Path:
    """Return the file that holds an attempt's outcome until the driver has recorded it."""
    return results_dir / PRIVATE / "outcomes" / f"{attempt_id}.json"


def keep_outcome(results_dir: Path, report: Report) -> None:
    """Make an outcome durable: it survives a power cut once this returns."""
    path = outcome_file(results_dir, report.attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(report.to_json())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def kept_outcome(results_dir: Path, attempt_id: str) -> Report | None:
    """Return the kept outcome of an attempt, None if there is none."""
    try:
        return Report.from_json(outcome_file(results_dir, attempt_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def kept_outcomes(results_dir: Path) -> Iterator[Report]:
    """Go through all kept outcomes."""
    folder = results_dir / PRIVATE / "outcomes"
    if folder.is_dir():
        for path in sorted(folder.glob("*.json")):
            yield Report.from_json(path.read_text(encoding="utf-8"))


def forget_outcome(results_dir: Path, attempt_id: str) -> None:
    """Remove a kept outcome that is recorded by now."""
    outcome_file(results_dir, attempt_id).unlink(missing_ok=True)


def experiment_dir(results_dir: Path, cell: Cell) -> Path:
    """Return the folder that has an experiment's name."""
    return generate_experiment_path(
        results_dir, cell.algorithm, cell.hyper_params_id, cell.collection, cell.dataset, cell.repetition
    )


def publish(results_dir: Path, cell: Cell, attempt_id: str, *, keep: bool = False) -> bool:
    """Put the files of a recorded attempt into its experiment's folder; False if they are not here.

    Parameters
    ----------
    results_dir : Path
        Results folder.
    cell : Cell
        The experiment.
    attempt_id : str
        The attempt that is its record.
    keep : bool
        Leave them in the attempt's folder as well (as hard links, so they take no more space): a later collection
        from the nodes then finds them and fetches nothing twice.
    """
    source = work_dir(results_dir, attempt_id)
    if not source.is_dir():
        return False
    target = experiment_dir(results_dir, cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    if keep:
        linked = source.with_name(f"{attempt_id}.part")
        shutil.rmtree(linked, ignore_errors=True)
        shutil.copytree(source, linked, copy_function=os.link)
        source = linked
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)
    return True


def tidy(results_dir: Path) -> None:
    """Remove the private folders that are empty."""
    for name in ("attempts", "outcomes", ""):
        with contextlib.suppress(OSError):  # not there, or not empty
            (results_dir / PRIVATE / name).rmdir()


def run_folder(folder: Path) -> Path:
    """Return the results folder of a run: `folder` itself, or the latest run's folder inside of it.

    Raises
    ------
    JournalError
        If there is no run in either.
    """
    if (folder / FILE_NAME).is_file():
        return folder
    inside = sorted(folder.glob(f"*/{FILE_NAME}"), key=lambda journal: journal.parent.name)
    if not inside:
        raise JournalError(f"there is no run in {folder}", remedy="Name a results folder that timeeval-run wrote")
    return inside[-1].parent
