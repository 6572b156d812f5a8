"""A live view of a run from its results folder: what has an outcome by now, until the driver ends. Reads only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.run.driver import Driver, Watched
from timeeval.run.journal import FILE_NAME, Journal

if TYPE_CHECKING:
    from timeeval.run.model import Outcome
    from timeeval.run.records import ResultRow

SHORTEST_PAUSE = 1.0
SHARE = 20


@dataclass(frozen=True, slots=True)
class View:
    """A look at a run.

    Attributes
    ----------
    fresh : tuple of ResultRow
        What got another outcome since the look before.
    counts : mapping of str to int
        Cells by outcome; "missing" has none yet.
    driver : Driver or None
        The driver, when it has ended: this is the last look.
    """

    fresh: tuple[ResultRow, ...]
    counts: dict[str, int]
    driver: Driver | None


def watch(folder: Path) -> Iterator[View]:
    """Look at a run again and again, until its driver ends.

    Parameters
    ----------
    folder : Path
        Results folder of the run; those of further evaluations of its script are beside it.

    Raises
    ------
    timeeval.errors.TimeEvalError
        If it holds no run of ours, or nothing says whether its driver goes on.
    """
    watched = Watched(folder)
    known: dict[str, tuple[str | None, Outcome | None]] = {}
    while True:
        ended = watched.ended()  # asked first: the last look then holds all there is
        began = time.monotonic()
        rows = list(_rows(folder))
        took = time.monotonic() - began
        fresh = {
            name: row for name, row in rows if row.outcome is not None and known.get(name) != (row.attempt, row.outcome)
        }
        known.update((name, (row.attempt, row.outcome)) for name, row in fresh.items())
        counts = Counter("missing" if row.outcome is None else row.outcome.value for _, row in rows)
        yield View(tuple(fresh.values()), dict(counts), ended)
        if ended is not None:
            return
        time.sleep(max(SHORTEST_PAUSE, SHARE * took))  # a large journal is read more seldom


def _rows(folder: Path) -> Iterator[tuple[str, ResultRow]]:
    """Go through the rows of a script's evaluations that have begun, each with a name of its own."""
    path, number = folder, 1
    while (path / FILE_NAME).is_file() or number == 1:  # where there is none at all, the journal says so
        with Journal.read(path / FILE_NAME) as journal:
            for row in journal.rows():
                cell = row.cell
                key = (cell.algorithm, cell.collection, cell.dataset, cell.hyper_params_id, cell.repetition)
                yield repr((number, *key)), row
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")
