"""What a large evaluation costs the driver: `python -m benchmarks.capacity [--json] [--experiments 100000]`.

An engine within the process answers at once, so what is measured is the driver alone: the grid, the state machine, the
journal on disk, the results table. Memory is the highest resident set of a process that did nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._report import Row, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timeeval import TimeEval
    from timeeval.engines.base import Parcel, Post

EXPERIMENTS = 100_000
DATASETS = 100
HOSTS, SLOTS = 50, 4
MOST_MEGABYTES = 300
MOST_MILLISECONDS = 1.5
INDEX = (
    "collection_name,dataset_name,train_path,test_path,dataset_type,datetime_index,split_at,train_type,train_is_normal,"
    "input_type,length,dimensions,contamination,num_anomalies,min_anomaly_length,median_anomaly_length,"
    "max_anomaly_length,mean,stddev,trend,stationarity,period_size"
)


class MemoryEngine:
    """Hosts that answer every attempt with a result at once; nothing runs."""

    name = "memory"

    def __init__(self) -> None:
        self._post: Post | None = None

    async def start(self, post: Post) -> None:
        """Offer the hosts."""
        from timeeval.run.model import HostUp

        self._post = post
        for number in range(HOSTS):
            post(HostUp(f"host{number}", SLOTS))

    def results_dir(self, results_path: Path) -> Path:
        """Return the results folder itself."""
        return results_path

    async def submit(self, parcel: Parcel) -> None:
        """Answer."""
        from timeeval.run.model import Outcome, Report, Reported

        assert all(parcel.jobs)
        assert self._post is not None
        now = time.time()
        values = {"execute_main_time": 0.001, "ROC_AUC": 0.5}
        for attempt in parcel.attempts:
            report = Report(attempt.id, Outcome.OK, attempt.host, now, now + 0.001, hyper_params="{}", values=values)
            asyncio.get_running_loop().call_soon(self._post, Reported(report))

    async def cancel(self, attempt_id: str) -> None:
        """Do nothing: all has ended already."""

    async def collect(self, results_path: Path) -> None:
        """Do nothing: there are no files."""

    async def stop(self) -> None:
        """Do nothing: nothing was started."""


def nothing(values: Any, _: dict[str, Any]) -> Any:  # noqa: ANN401 - what algorithms get and give
    """Stand for an algorithm; it is never called."""
    return values


def write_datasets(folder: Path, count: int) -> None:
    """Write an index of tiny datasets, with files for their digests."""
    folder.mkdir()
    rows = [INDEX]
    for number in range(count):
        name = f"series{number}"
        rows.append(
            f"small,{name},,{name}.csv,synthetic,False,,unsupervised,False,univariate,"
            f"{100 + number},1,0.1,1,1,1,1,0,1,no trend,stationary,10"
        )
        (folder / f"{name}.csv").write_text(f"timestamp,value,is_anomaly\n0,{number},0\n1,2,1\n", encoding="utf-8")
    (folder / "datasets.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def evaluation(folder: Path, experiments: int) -> TimeEval:
    """Return an evaluation of one algorithm with as many settings as are needed."""
    from timeeval import Algorithm, DatasetManager, TimeEval
    from timeeval.adapters import FunctionAdapter
    from timeeval.params import FullParameterGrid

    datasets = min(DATASETS, experiments)
    write_datasets(folder / "data", datasets)
    manager = DatasetManager(folder / "data", create_if_missing=False)
    grid = FullParameterGrid({"a": list(range(max(1, experiments // datasets))), "b": ["constant"]})
    return TimeEval(
        manager,
        manager.select(),
        [Algorithm("nothing", FunctionAdapter(nothing), param_config=grid)],
        results_path=folder / "results",
        disable_progress_bar=True,
    )


def measure(experiments: int) -> dict[str, float]:
    """Run in this process; return its CPU milliseconds per experiment and its memory in MB."""
    from timeeval.run.session import Place, Session, opened

    with tempfile.TemporaryDirectory() as folder, opened(Session(lambda _: Place(MemoryEngine()))):
        timeeval = evaluation(Path(folder), experiments)
        import_megabytes = _megabytes()
        begin = time.process_time()
        timeeval.run()
        seconds = time.process_time() - begin
        count = len(timeeval.results)
        assert (timeeval.results["ROC_AUC"] == 0.5).all()
    return {
        "experiments": count,
        "milliseconds": seconds / count * 1e3,
        "megabytes": _megabytes(),
        "before": import_megabytes,
    }


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows(experiments: int) -> Sequence[Row]:
    """Measure in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.capacity", "--worker", "--experiments", str(experiments)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    label = f"{found['experiments']:.0f} experiments"
    return [
        Row(f"{label}, driver CPU each", found["milliseconds"], None, "ms CPU", MOST_MILLISECONDS, absolute=True),
        Row(f"{label}, highest memory", found["megabytes"], None, "MB", MOST_MEGABYTES, absolute=True),
        Row("memory before the run", found["before"], None, "MB"),
    ]


def main() -> None:
    """Measure and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        found = measure(arguments.experiments)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    measured = rows(arguments.experiments)
    show(measured, as_json=arguments.json)
    sys.exit(any(row.met is False for row in measured))


if __name__ == "__main__":
    main()
