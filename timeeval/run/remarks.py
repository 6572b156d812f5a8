"""What is to be said of a run beside its table: where files are, and how the hosts compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.proof import EQUAL_BY_CONTEXT
from timeeval.run.collected import Collect, Collected
from timeeval.run.files import OPEN_ENDED
from timeeval.run.model import run_of

if TYPE_CHECKING:
    from timeeval.run.records import ResultRow, RunInfo

NOTABLE = 0.10


def remarks(results_path: Path, rows: Iterable[ResultRow], runs: Sequence[RunInfo]) -> list[str]:
    """Return the lines that follow the table of a run.

    Parameters
    ----------
    results_path : Path
        Results folder.
    rows : iterable of ResultRow
        The run's grid.
    runs : sequence of RunInfo
        All runs of the folder, the one that is shown last.
    """
    return [*_speeds(runs[-1:]), *_built(runs[-1:]), *_left(results_path, rows, runs)]


def _built(runs: Iterable[RunInfo]) -> list[str]:
    """Say which images the hosts built themselves: that proves less."""
    lines = []
    for run in runs:
        equality: dict[str, str] = (run.info.get("proof") or {}).get("image_equality", {})
        built = sorted(name for name, how in equality.items() if how == EQUAL_BY_CONTEXT)
        if built:
            lines.append(f"images that each host built itself, {EQUAL_BY_CONTEXT}: {', '.join(built)}")
    return lines


def _speeds(runs: Iterable[RunInfo]) -> list[str]:
    """Say which hosts differ from most by so much that their times are not those of the others."""
    lines = []
    for run in runs:
        known = {host: facts.get("calibration") or {} for host, facts in run.info.get("hosts", {}).items()}
        odd = {host: found["speed"] for host, found in known.items() if _differs(found.get("speed", 1.0))}
        if odd:
            told = ", ".join(f"{host} {speed:.2f}" for host, speed in sorted(odd.items()))
            lines.append(f"hosts whose speed differs from the usual one of this run: {told}; compare times with care")
    return lines


def _differs(speed: float) -> bool:
    return not 1 / (1 + NOTABLE) <= speed <= 1 + NOTABLE


def _left(results_path: Path, rows: Iterable[ResultRow], runs: Sequence[RunInfo]) -> list[str]:
    """Return lines that say which files of records have not come from their hosts, and how they are fetched."""
    away = {run.id for run in runs if run.info.get("origin")}
    collected = Collected(results_path)
    left: dict[Collect, Counter[str]] = {}
    for row in rows:
        if row.host is not None and row.outcome not in (None, *OPEN_ENDED) and run_of(row.attempt or "") in away:
            level = collected.level(row.attempt or "")
            if level is not Collect.ALL:
                left.setdefault(level, Counter())[row.host] += 1
    what = {Collect.NONE: "the files", Collect.SCORES: "files beside the scores"}
    return [
        f"{what[level]} of {counts.total()} experiments are on their hosts only: "
        f"{', '.join(f'{host} ({count})' for host, count in sorted(counts.items()))}; "
        f"`timeeval-results fetch {results_path}` brings them"
        for level, counts in left.items()
    ]
