"""Where things lie in a results folder, on the driver and on the nodes.

An attempt writes below ``.timeeval/attempts/<attempt>`` and its outcome to ``.timeeval/outcomes/<attempt>.json``; the
driver moves the files of the attempt that became the record to the experiment's own folder. So a lost, doubled or
broken attempt never shows under an experiment's name, and files of different hosts cannot meet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePath

from timeeval.errors import JournalError
from timeeval.run.journal import FILE_NAME
from timeeval.run.model import Cell, Report
from timeeval.utils.results_path import generate_experiment_path

PRIVATE = ".timeeval"

_log = logging.getLogger("TimeEval")


def attempt_path(attempt_id: str) -> str:
    """Return the path of an attempt's folder below a results folder, on the driver and on the nodes."""
    return f"{PRIVATE}/attempts/{attempt_id}"


def outcome_path(attempt_id: str) -> str:
    """Return the path of an attempt's outcome below a results folder."""
    return f"{PRIVATE}/outcomes/{attempt_id}.json"


def work_dir(results_dir: Path, attempt_id: str) -> Path:
    """Return the folder that an attempt writes to."""
    return results_dir / attempt_path(attempt_id)


def outcome_file(results_dir: Path, attempt_id: str) -> Path:
    """Return the file that holds an attempt's outcome until the driver has recorded it."""
    return results_dir / outcome_path(attempt_id)


def stage_dir(results_dir: Path, host: str) -> Path:
    """Return the folder in which files from a host arrive before they are proven."""
    return results_dir / PRIVATE / "incoming" / host


def keep_outcome(results_dir: Path, report: Report, *, durable: bool = True) -> None:
    """Keep an outcome: it survives a killed process and, if `durable`, a power cut once this returns."""
    path = outcome_file(results_dir, report.attempt)
    make_folder(path.parent)
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(report.to_json())
        if durable:
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
    """Go through all kept outcomes; one that speaks for another attempt, or is none, is said and passed over."""
    folder = results_dir / PRIVATE / "outcomes"
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        try:
            report = Report.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            _log.warning("%s is no outcome of an attempt: %s", path, error)
            continue
        if report.attempt == path.stem:
            yield report
        else:
            _log.warning("%s is the outcome of another attempt, %s, and is not taken in", path, report.attempt)


def forget_outcome(results_dir: Path, attempt_id: str) -> None:
    """Remove a kept outcome that is recorded by now."""
    outcome_file(results_dir, attempt_id).unlink(missing_ok=True)


def forget_outcomes(results_dir: Path, still_open: Collection[str]) -> None:
    """Remove all kept outcomes but those of attempts that have no end yet."""
    for report in kept_outcomes(results_dir):
        if report.attempt not in still_open:
            forget_outcome(results_dir, report.attempt)


def experiment_dir(results_dir: Path, cell: Cell) -> Path:
    """Return the folder that has an experiment's name."""
    return generate_experiment_path(
        results_dir, cell.algorithm, cell.hyper_params_id, cell.collection, cell.dataset, cell.repetition
    )


def astray(cells: Iterable[Cell]) -> str | None:
    """Return a name whose experiments' files would not lie below the results folder, None if there is none.

    Names come from scripts and from the index files of datasets, which others may have written.
    """
    names = {name for cell in cells for name in (cell.algorithm, cell.collection, cell.dataset)}
    for name in sorted(names):
        parts = PurePath(name).parts
        if not parts or ".." in parts or name.startswith("/") or "\0" in name or parts[0] == PRIVATE:
            return name
    return None


def publish(results_dir: Path, cell: Cell, attempt_id: str, *, add: bool = False) -> bool:
    """Put the files of a recorded attempt into its experiment's folder; False if they are not here.

    Parameters
    ----------
    results_dir : Path
        Results folder.
    cell : Cell
        The experiment.
    attempt_id : str
        The attempt that is its record.
    add : bool
        The experiment's folder holds other files of the same attempt, which stay; else it is replaced.
    """
    source = work_dir(results_dir, attempt_id)
    target = experiment_dir(results_dir, cell)
    if not add and _renamed(source, target):
        return True
    if not source.is_dir():
        return False
    if add and target.is_dir():
        for file in [path for path in source.rglob("*") if path.is_file()]:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
        shutil.rmtree(source)
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)
    return True


def _renamed(source: Path, target: Path) -> bool:
    """Give a folder its name if that takes nothing else; the common case, once per experiment."""
    try:
        os.rename(source, target)  # noqa: PTH104
    except OSError:
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and what is above it, unless it is there; asks nothing where it has only to be made."""
    try:
        os.mkdir(folder)  # noqa: PTH102 - Path.mkdir costs several times as much
    except OSError:
        folder.mkdir(parents=True, exist_ok=True)


def tidy(results_dir: Path) -> None:
    """Remove the private folders that are empty."""
    for name in ("attempts", "outcomes", "incoming", ""):
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
