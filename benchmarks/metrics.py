"""Metrics and window reversal against TimeEval 1.5.0: `python -m benchmarks.metrics [--json] [--sizes 10000,100000]`.

Both sides get the same arrays and are asked in turn; each figure is the median of CPU times. What takes the other side
longer than a few seconds is run once, and stopped after a minute of CPU: such rows say `>`, the least that its time and
the ratio can be, and compare no values. All sizes take about half an hour, nearly all of it on the other side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._peer import UPSTREAM, Worker, python_with
from benchmarks._report import Row, show
from timeeval import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (10_000, 100_000, 1_000_000)
REPEATS = 5
LONG = 3.0
"""Seconds from which on the other side is asked once only."""
MOST = 60.0
"""CPU seconds after which the other side is stopped."""


@dataclass(frozen=True, slots=True)
class Case:
    """One metric; `goals` are the least ratios per size, and a size without one is not measured on the other side."""

    metric: str
    goals: dict[int, float]
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "metric"

    @property
    def name(self) -> str:
        """What the case is called in the report."""
        if self.metric == "RangePrecisionRangeRecallAUC":
            return "RANGE_PR_AUC" if self.options == _RANGE_PR_AUC else "FIXED_RANGE_PR_AUC"
        shown = (str(value).replace("True", "compat") for value in self.options.values())
        return f"{self.metric}({', '.join(shown)})"


def _goals(*ratios: float) -> dict[int, float]:
    return dict(zip(SIZES, ratios, strict=False))


_RANGE_PR_AUC = {"max_samples": 50, "r_alpha": 0, "cardinality": "one", "bias": "flat"}
CASES = [
    Case("RocAUC", _goals(5, 6, 10)),
    Case("PrAUC", _goals(5, 6, 10)),
    Case("AveragePrecision", _goals(5, 6, 10)),
    Case("TopKRangesThresholding", _goals(2, 3, 7), kind="threshold"),
    Case("RangePrAUC", _goals(15, 20, 30)),
    Case("RangeRocAUC", _goals(15, 20, 30)),
    Case("RangePrAUC", _goals(15, 20, 30), {"compatibility_mode": True}),
    Case("RangePrecisionRangeRecallAUC", _goals(100, 250, 400), _RANGE_PR_AUC),
    Case("RangePrecisionRangeRecallAUC", _goals(100, 250, 400)),
    Case("RangePrVUS", _goals(500, 1000), {"max_buffer_size": 100}),
    Case("RangeRocVUS", _goals(500, 1000), {"max_buffer_size": 100}),
    Case("RangePrVUS", _goals(150, 600), {"max_buffer_size": 100, "compatibility_mode": True}),
    Case("RangePrVUS", _goals(500, 1000), {"max_buffer_size": 500}),
    Case("RangePrVUS", _goals(150, 600), {"max_buffer_size": 500, "compatibility_mode": True}),
]
WINDOW_GOALS = {"MEAN": _goals(1, 1, 40), "SUM": _goals(1, 1, 40), "MEDIAN": _goals(5, 15, 35)}


def make_series(n: int, *, smooth: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return labels (1 % anomalous, in 20 ranges) and scores that see something of them."""
    rng = np.random.default_rng(n + smooth)
    labels = np.zeros(n, dtype=np.int64)
    length = n // 2000
    for start in (np.arange(20) * n // 20) + rng.integers(0, n // 20 - length, 20):
        labels[start : start + length] = 1
    scores = rng.random(n)
    if smooth:
        scores = np.convolve(np.pad(scores, 50, mode="edge"), np.ones(101) / 101, "valid")
    scores = scores + 0.3 * scores.std() * labels
    return labels, (scores - scores.min()) / (scores.max() - scores.min())


class Comparison:
    """Two workers and the arrays both read."""

    def __init__(self, ours: Worker, peer: Worker, folder: Path, only: str) -> None:
        self.ours, self.peer, self.folder, self.only = ours, peer, folder, only

    def rows(self, sizes: list[int]) -> Iterator[Row]:
        """Yield all measurements."""
        for n in sizes:
            for smooth in (False, True):
                label = f"{n:.0e}".replace("+0", "") + (" smooth" if smooth else " noisy")
                labels, scores = make_series(n, smooth=smooth)
                paths = {"labels": str(self.folder / "labels.npy"), "scores": str(self.folder / f"{n}{smooth}.npy")}
                paths["labels"] = paths["scores"].replace(".npy", ".labels.npy")
                np.save(paths["labels"], labels)
                np.save(paths["scores"], scores)
                for case in CASES:
                    if self.only in case.name:
                        yield self._metric(case, n, label, paths)
                if self.only in "together":
                    yield _shared(label, labels, scores)
                for method in WINDOW_GOALS if not smooth else ():
                    if self.only in f"ReverseWindowing(100, {method})":
                        yield from self._window(method, n, label, paths["scores"])

    def _metric(self, case: Case, n: int, label: str, paths: dict[str, str]) -> Row:
        request = {"kind": case.kind, "metric": case.metric, "options": case.options, **paths}
        work = f"{label} {case.name}"
        if n not in case.goals:
            seconds = statistics.median(self.ours.ask(**request)["seconds"] for _ in range(REPEATS))
            return Row(work, seconds * 1e3, None, "ms CPU", goal=100, absolute=True)
        return self._alternate(work, request, case.goals[n])

    def _window(self, method: str, n: int, label: str, scores: str) -> Iterator[Row]:
        request = {"kind": "window", "method": method, "window": 100, "scores": scores}
        work = f"{label} ReverseWindowing(100, {method})"
        yield self._alternate(work, request, WINDOW_GOALS[method][n])
        if n == SIZES[-1]:
            memory = [side.ask(**request, memory=True)["megabytes"] for side in (self.ours, self.peer)]
            yield Row(f"{work} memory", memory[0], memory[1], "MB", None if method == "MEDIAN" else 20)

    def _alternate(self, work: str, request: dict[str, Any], goal: float) -> Row:
        """Compare the median CPU seconds of both sides, asked in turn, and whether the results agree to 1e-9."""
        self.ours.ask(**request)  # imports and caches
        answers: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for _ in range(REPEATS):
            answers[0].append(self.ours.ask(**request))
            if not answers[1] or answers[1][0]["seconds"] < LONG:
                answers[1].append(self.peer.ask(**request, most=MOST))
        ours, peer = (statistics.median(answer["seconds"] for answer in side) * 1e3 for side in answers)
        bound = "cut" in answers[1][0]
        same = None if bound else _same(answers[0][0], answers[1][0])
        return Row(work, ours, peer, "ms CPU", goal, same=same, bound=bound)


def _shared(label: str, labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Row:
    """Compare the metrics of one result together with the same metrics one by one."""
    chosen = [getattr(metrics, case.metric)(**case.options) for case in CASES if case.kind == "metric"]
    together, alone = [], []
    for _ in range(3):
        begin = time.process_time()
        values = metrics.score_each(chosen, labels, scores)
        together.append(time.process_time() - begin)
        begin = time.process_time()
        single = [metric(labels, scores) for metric in chosen]
        alone.append(time.process_time() - begin)
    work = f"{label} {len(chosen)} metrics of one result, together / alone"
    seconds = statistics.median(together), statistics.median(alone)
    return Row(work, seconds[0] * 1e3, seconds[1] * 1e3, "ms CPU", same=values == single)


def _same(ours: dict[str, Any], peer: dict[str, Any]) -> bool:
    if "digest" in ours:
        return bool(ours["digest"] == peer["digest"])
    return bool(np.isclose(ours["value"], peer["value"], rtol=0, atol=1e-9, equal_nan=True))


def main() -> None:
    """Measure and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default="", help="measure only the work whose name contains this text")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="points per series, comma-separated")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"there are no goals for {sorted(unknown)}: choose from {', '.join(map(str, SIZES))}")
    script = Path(__file__).with_name("_metrics_worker.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker(Path(sys.executable), script) as ours,
        Worker(python_with(UPSTREAM), script) as peer,
    ):
        missed = []

        def watched() -> Iterator[Row]:
            for row in Comparison(ours, peer, Path(folder), arguments.only).rows(sizes):
                if row.met is False:
                    missed.append(row.work)
                yield row

        show(watched(), as_json=arguments.json)
    if missed:
        sys.stderr.write("Goals missed: " + "; ".join(missed) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
