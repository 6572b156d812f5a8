"""The library around the metrics against TimeEval 1.5.0: `python -m benchmarks.library [--json] [--only NAME]`.

Both sides do the same work in turn, each in an environment of its own; figures are CPU times, of child processes as
well. A peer that would take more than a minute or more memory than there is gets a smaller size: the row says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._peer import UPSTREAM, Worker, python_with
from benchmarks._report import Row, show

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("_library_worker.py")
REPEATS = 3


class Comparison:
    """Two workers that are asked in turn."""

    def __init__(self, ours: Worker, peer: Worker, peer_python: Path) -> None:
        self.ours, self.peer, self.peer_python = ours, peer, peer_python

    def both(self, work: str, request: dict[str, Any], unit: str, *, goal: float | None, repeats: int = REPEATS) -> Row:
        """Measure one request on both sides."""
        answers: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for _ in range(repeats):
            for side, worker in zip(answers, (self.ours, self.peer), strict=True):
                side.append(worker.ask(**request))
        scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit.split(maxsplit=1)[0]]
        ours, peer = (statistics.median(answer["seconds"] for answer in side) * scale for side in answers)
        return Row(work, ours, peer, unit, goal, same=answers[0][0]["value"] == answers[1][0]["value"])

    def parameters(self) -> Iterator[Row]:
        """Go through a parameter grid."""
        request = {"kind": "grid", "axes": 5}
        yield self.both(
            "parameters: 1e5 settings and their ids", {**request, "uids": True}, "ms CPU", goal=5, repeats=9
        )
        yield self.both("parameters: 1e5 settings", {**request, "uids": False}, "ms CPU", goal=None)

    def analysis(self) -> Iterator[Row]:
        """Analyse a series; the peer's time grows with the third power of the lag, so it gets 2e4 points."""
        small, large = ({"kind": "analysis", "points": points} for points in (20_000, 100_000))
        yield self.both("analysis: 2e4 points", small, "s CPU", goal=50, repeats=1)
        seconds = statistics.median(self.ours.ask(**large)["seconds"] for _ in range(REPEATS))
        # TimeEval 1.5 did not end 1e5 points within 200 s
        yield Row("analysis: 1e5 points (a thousandth of > 200 s)", seconds, None, "s CPU", 0.2, absolute=True)
        memory = self.ours.ask(**large, memory=True)["megabytes"]
        yield Row("analysis: 1e5 points, memory", memory, None, "MB", 20, absolute=True)

    def datasets(self) -> Iterator[Row]:
        """Look up datasets."""
        request = {"kind": "index", "datasets": 10_000, "lookups": 1_000}
        row = self.both("datasets: get() of 10,000", request, "us CPU", goal=None)
        yield Row(row.work, row.ours, row.peer, row.unit, 20, absolute=True, same=row.same)

    def imports(self) -> Iterator[Row]:
        """Import in a fresh interpreter; what numpy and pandas cost is measured in the same minute and taken off."""
        for statement in ("import timeeval", "from timeeval import TimeEval, DatasetManager"):
            ours, peer = (_import(python, statement) for python in (Path(sys.executable), self.peer_python))
            yield Row(f"import: {statement}", ours, peer, "s CPU")
        base = _import(Path(sys.executable), "import numpy, pandas")
        above = _import(Path(sys.executable), "import numpy, pandas; from timeeval import TimeEval, DatasetManager")
        yield Row("import: TimeEval above numpy and pandas", max(above - base, 0.0), None, "s CPU", 0.15, absolute=True)

    def runs(self) -> Iterator[Row]:
        """Run whole evaluations; files and values have to be the same."""
        request = {"kind": "run", "experiments": 2_000}
        yield self.both("run: 2,000 trivial experiments, each", request, "ms CPU", goal=4)

    def windows(self) -> Iterator[Row]:
        """Turn window scores into point scores."""
        for method, goal in (("MEAN", 40), ("SUM", 40)):
            request = {"kind": "window", "points": 1_000_000, "method": method}
            yield self.both(f"ReverseWindowing(100, {method}), 1e6 points", request, "ms CPU", goal=goal, repeats=1)


def _import(python: Path, statement: str) -> float:
    """Return the CPU seconds of an interpreter that runs a statement, the least of several."""
    program = (
        "import resource\nnow = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])\n"
        f"begin = now()\n{statement}\nprint(now() - begin)"
    )
    command = [str(python), "-P", "-W", "ignore", "-c", program]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return min(
        float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(REPEATS)
    )


def main() -> None:
    """Run the parts that were asked for."""
    parts = ("parameters", "analysis", "datasets", "imports", "windows", "runs")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument("--only", choices=parts, action="append", help="run this part; may be repeated")
    given = parser.parse_args()
    peer_python = python_with(UPSTREAM)
    with Worker(Path(sys.executable), WORKER) as ours, Worker(peer_python, WORKER) as peer:
        comparison = Comparison(ours, peer, peer_python)
        rows = (row for part in given.only or parts for row in getattr(comparison, part)())
        show(rows, as_json=given.json)


if __name__ == "__main__":
    main()
