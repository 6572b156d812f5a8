"""Which experiments' files have been collected from the hosts, and how much of them: one line for each attempt.

What stands here is neither asked for nor hashed again. A line is written after the files have their names, so a crash
in between costs one look at the host.
"""

from __future__ import annotations

import json
import logging
from enum import StrEnum
from pathlib import Path

from timeeval.constants import (
    ANOMALY_SCORES_TS,
    EXECUTION_LOG,
    HYPER_PARAMETERS,
    METRICS_CSV,
    RAW_ANOMALY_SCORES_TS,
)
from timeeval.run import layout

_log = logging.getLogger("TimeEval")

OWN_FILES = (ANOMALY_SCORES_TS, RAW_ANOMALY_SCORES_TS, METRICS_CSV, EXECUTION_LOG, HYPER_PARAMETERS)
"""What TimeEval itself writes for an experiment; everything else is the algorithm's."""


class Collect(StrEnum):
    """How much of what experiments write travels to the driver.

    ``ALL``: everything. ``SCORES``: what TimeEval itself writes (scores, metrics, log, parameters), but not what the
    algorithm leaves beside it, such as models. ``NONE``: nothing, the files stay on the hosts; outcomes, times and
    metric values are in the journal in any case.
    """

    NONE = "none"
    SCORES = "scores"
    ALL = "all"

    @property
    def patterns(self) -> tuple[str, ...] | None:
        """Names of the files that travel; None for all."""
        return None if self is Collect.ALL else OWN_FILES if self is Collect.SCORES else ()

    def covers(self, other: Collect) -> bool:
        """Tell whether this is at least as much as `other`."""
        order = list(Collect)
        return order.index(self) >= order.index(other)


class Collected:
    """What has been collected into a results folder.

    Parameters
    ----------
    results_path : Path
        The results folder.
    """

    def __init__(self, results_path: Path) -> None:
        self._file = results_path / layout.PRIVATE / "collected.jsonl"
        self._levels: dict[str, Collect] = {}
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in filter(None, text.splitlines()):
            try:
                entry = json.loads(line)
                self._levels[str(entry["attempt"])] = Collect(entry["level"])
            except (ValueError, KeyError, TypeError):  # a crash tore it: that attempt is looked at once more
                _log.warning("a line of %s cannot be read and is passed over", self._file)

    def level(self, attempt: str) -> Collect:
        """Return how much of an attempt's files was collected."""
        return self._levels.get(attempt, Collect.NONE)

    def lost(self, attempt: str) -> None:
        """Take in that the files of an attempt are not here any more."""
        self._levels.pop(attempt, None)

    def note(self, attempts: dict[str, Collect]) -> None:
        """Write down what was collected."""
        if not attempts:
            return
        self._file.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps({"attempt": name, "level": level.value}) + "\n" for name, level in attempts.items())
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")  # what a crash tore must not take this line with it
        self._levels |= attempts
