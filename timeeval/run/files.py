"""What becomes of the files that experiments write: the run tells what ended, whoever has the files brings them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from timeeval.run import layout
from timeeval.run.model import Cell, Outcome, Report

if TYPE_CHECKING:
    from timeeval.run.records import ResultRow

_log = logging.getLogger("TimeEval")

OPEN_ENDED = frozenset({Outcome.INFRA, Outcome.CANCELLED})
"""Outcomes of the machinery: no files are owed for them."""


class Files(Protocol):
    """Puts the files of experiments where they belong.

    All methods run on the driver's event loop.
    """

    async def recover(self, open_attempts: Iterable[tuple[str, str]]) -> None:
        """Bring the outcomes of attempts (id, host) that an earlier driver did not see end to where they are read."""
        ...

    def ended(self, report: Report, cell: Cell) -> None:
        """Take in that an attempt has ended and that the journal says so for good."""
        ...

    def want(self, rows: Iterable[ResultRow], *, scores: bool = False) -> None:
        """Take in that the files of these records are wanted, if they are not here; `scores`: those at least."""
        ...

    async def settle(self) -> str:
        """Bring what is wanted and not here yet; return what could not be had and why, or an empty text."""
        ...

    async def close(self, still_open: Sequence[str]) -> None:
        """End what runs and remove what is not needed any more, but nothing of attempts without an end."""
        ...


class FilesHere:
    """Files of an engine that writes into the results folder itself.

    Parameters
    ----------
    results_path : Path
        The results folder.
    """

    def __init__(self, results_path: Path) -> None:
        self._results_path = results_path

    async def recover(self, open_attempts: Iterable[tuple[str, str]]) -> None:
        """Do nothing: outcomes are kept here."""

    def ended(self, report: Report, cell: Cell) -> None:
        """Give the files of an attempt their names, and forget the outcome that is recorded."""
        try:
            if report.outcome not in OPEN_ENDED:
                layout.publish(self._results_path, cell, report.attempt)
            layout.forget_outcome(self._results_path, report.attempt)
        except OSError as error:  # tried again at the end of the run
            _log.warning("files of attempt %s were not put in their place: %s", report.attempt, error)

    def want(self, rows: Iterable[ResultRow], *, scores: bool = False) -> None:  # noqa: ARG002 - all are here
        """Give the files of records their names that have not got them yet."""
        try:
            here = set(os.listdir(self._results_path / layout.PRIVATE / "attempts"))  # noqa: PTH208 - names only
        except FileNotFoundError:
            return
        for row in rows if here else ():
            if row.attempt in here:
                try:
                    layout.publish(self._results_path, row.cell, row.attempt)
                except OSError as error:  # the table matters more
                    _log.warning("Files of %s were not put in their place: %s", row.cell, error)

    async def settle(self) -> str:
        """Return at once: all is here."""
        return ""

    async def close(self, still_open: Sequence[str]) -> None:
        """Remove files and outcomes of ended attempts that did not become a record."""
        await asyncio.to_thread(self._clean, frozenset(still_open))

    def _clean(self, still_open: frozenset[str]) -> None:
        attempts = self._results_path / layout.PRIVATE / "attempts"
        if attempts.is_dir():
            for folder in attempts.iterdir():
                if folder.name not in still_open:
                    shutil.rmtree(folder, ignore_errors=True)
        layout.forget_outcomes(self._results_path, still_open)
        layout.tidy(self._results_path)
