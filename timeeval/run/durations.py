"""How long experiments took in earlier runs, read from the journals of their results folders."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from timeeval.errors import JournalError
from timeeval.run.journal import FILE_NAME, Journal

FOLDERS = 5
"""So many of the newest folders beside a run's own are read."""
_LEAST = 1e-3

_log = logging.getLogger("TimeEval")
DatasetId = tuple[str, str]


class Estimate(NamedTuple):
    """Expected seconds, or, if not `measured`, a number that grows with them."""

    seconds: float
    measured: bool


class Durations:
    """What is known of earlier runs.

    Parameters
    ----------
    seconds : mapping
        Mean seconds of a (algorithm, collection, dataset).
    lengths : mapping of (str, str) to float
        Points of datasets, by collection and name.
    """

    def __init__(self, seconds: Mapping[tuple[str, str, str], float], lengths: Mapping[DatasetId, float]) -> None:
        self._lengths = lengths
        self._seconds = seconds
        rates: dict[str, list[float]] = defaultdict(list)
        for (algorithm, *dataset), took in seconds.items():
            length = lengths.get((dataset[0], dataset[1]))
            if length is not None:
                rates[algorithm].append(math.log(max(took, _LEAST) / length))
        self._rates = {algorithm: sum(logs) / len(logs) for algorithm, logs in rates.items()}
        self._usual = sum(self._rates.values()) / len(self._rates) if self._rates else 0.0

    @classmethod
    def of(cls, results_path: Path, lengths: Mapping[DatasetId, float]) -> Durations:
        """Read the journals of a results folder and of the newest folders beside it."""
        found: dict[tuple[str, str, str], float] = {}
        beside = sorted(
            (path for path in results_path.parent.glob(f"*/{FILE_NAME}") if path.parent != results_path),
            key=lambda path: path.parent.name,
        )
        for path in [*beside[-FOLDERS:], results_path / FILE_NAME]:  # what is newer takes the place of what is older
            if path.is_file():
                found.update(_read(path))
        return cls(found, lengths)

    def estimate(self, algorithm: str, collection: str, dataset: str) -> Estimate:
        """Return what to expect of an algorithm on a dataset."""
        length = self._lengths.get((collection, dataset), 1.0)
        took = self._seconds.get((algorithm, collection, dataset))
        if algorithm not in self._rates:  # a guess for one is a guess for all of an algorithm, so that they compare
            return Estimate(length * math.exp(self._usual), measured=False)
        if took is not None:
            return Estimate(max(took, _LEAST), measured=True)
        return Estimate(length * math.exp(self._rates[algorithm]), measured=True)


def _read(path: Path) -> Iterable[tuple[tuple[str, str, str], float]]:
    try:
        with Journal.read(path) as journal:
            return journal.mean_seconds()
    except (JournalError, sqlite3.Error) as error:
        _log.info("Durations of an earlier run are not used: %s", error)
        return ()
