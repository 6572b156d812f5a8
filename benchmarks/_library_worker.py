"""Runs in either environment: one JSON request per line, one answer per line. Knows only TimeEval 1.5's interface."""

import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

INDEX = (
    "collection_name,dataset_name,train_path,test_path,dataset_type,datetime_index,split_at,train_type,train_is_normal,"
    "input_type,length,dimensions,contamination,num_anomalies,min_anomaly_length,median_anomaly_length,"
    "max_anomaly_length,mean,stddev,trend,stationarity,period_size"
)


def cpu(work: Any) -> tuple[float, Any]:  # noqa: ANN401
    """Return the CPU seconds of a call, of this process and the children it waited for, and its result."""
    begin = used()
    result = work()
    return used() - begin, result


def used() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def digest(texts: Any) -> str:  # noqa: ANN401
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def grid(request: dict[str, Any]) -> dict[str, Any]:
    """All settings of a grid, with or without their ids."""
    from timeeval.params import FullParameterGrid

    axes = FullParameterGrid({f"parameter_{i}": list(range(10)) for i in range(request["axes"])})
    work = (
        (lambda: [params.uid() for params in axes.iter(None, None)])
        if request["uids"]
        else (lambda: sum(1 for _ in axes.iter(None, None)))
    )
    seconds, result = cpu(work)
    return {"seconds": seconds, "value": digest(result) if request["uids"] else result}


def analysis(request: dict[str, Any]) -> dict[str, Any]:
    """Analyse a series with its stationarity tests."""
    import numpy as np
    import pandas as pd

    from timeeval.datasets import DatasetAnalyzer

    n = request["points"]
    rng = np.random.default_rng(7)
    values = np.sin(np.arange(n) / 50) + np.cumsum(rng.normal(size=n)) * 0.01 + rng.normal(size=n)
    labels = (np.arange(n) == n // 2).astype(int)
    table = pd.DataFrame({"timestamp": np.arange(n), "value": values, "is_anomaly": labels})

    def work() -> Any:  # noqa: ANN401
        return DatasetAnalyzer(("c", "d"), is_train=False, df=table).metadata.stationarities

    if request.get("memory"):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return {"megabytes": peak / 1e6}
    seconds, found = cpu(work)
    return {"seconds": seconds, "value": {name: kind.name for name, kind in found.items()}}


def index(request: dict[str, Any]) -> dict[str, Any]:
    """Look up each dataset of an index, after the first."""
    from timeeval import DatasetManager

    folder = Path(tempfile.mkdtemp())
    count = request["datasets"]
    lines = [
        f"c{i % 10},d{i:05},,d{i:05}.csv,synthetic,True,,unsupervised,False,univariate,1000,1,0.01,1,5,5,5,0,1,"
        "no trend,stationary,12"
        for i in range(count)
    ]
    (folder / "datasets.csv").write_text("\n".join([INDEX, *lines]) + "\n")
    manager = DatasetManager(folder)
    ids = [(f"c{i % 10}", f"d{i:05}") for i in range(0, count, max(1, count // request["lookups"]))]
    manager.get(ids[0])
    seconds, found = cpu(lambda: [manager.get(dataset) for dataset in ids])
    shutil.rmtree(folder)
    return {"seconds": seconds / len(ids), "value": digest(str(d.datasetId) + str(d.length) for d in found)}


def first_point(data: Any, _: Any) -> Any:  # noqa: ANN401
    import numpy as np

    return np.abs(np.asarray(data, dtype=float)[:, 0])


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a trivial function on datasets of 1,000 points, on this machine."""
    import numpy as np
    import pandas as pd

    from timeeval import Algorithm, DatasetManager, TimeEval
    from timeeval.adapters import FunctionAdapter

    # Files in memory, where there is such a place: what a disk needs for each is the same on both sides, but can be ten
    # times as much a minute later.
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
    rng = np.random.default_rng(3)
    lines = []
    for i in range(20):
        values, labels = rng.normal(size=1000), np.zeros(1000, dtype=int)
        labels[500:510] = 1
        times = pd.date_range("2020-01-01", periods=1000, freq="min")
        pd.DataFrame({"timestamp": times, "value": values, "is_anomaly": labels}).to_csv(
            folder / f"d{i}.csv", index=False
        )
        lines.append(
            f"c,d{i},,d{i}.csv,synthetic,True,,unsupervised,False,univariate,1000,1,0.01,1,10,10,10,0,1,no trend,"
            "stationary,12"
        )
    (folder / "datasets.csv").write_text("\n".join([INDEX, *lines]) + "\n")
    manager = DatasetManager(folder)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        before, sys.stdout = sys.stdout, nowhere
        timeeval = TimeEval(
            manager,
            manager.select(),
            [Algorithm("first", FunctionAdapter(first_point))],
            results_path=folder / "results",
            repetitions=request["experiments"] // 20,
            disable_progress_bar=True,
        )
        seconds, _ = cpu(timeeval.run)
        sys.stdout = before
    table = timeeval.results
    files = sorted({path.name for path in timeeval.results_path.glob("first/*/c/d0/1/*")})
    value = {"rows": len(table), "mean": round(float(table["ROC_AUC"].astype(float).mean()), 9), "files": files}
    shutil.rmtree(folder)
    return {"seconds": seconds / request["experiments"], "value": value}


def window(request: dict[str, Any]) -> dict[str, Any]:
    """Window scores to point scores."""
    import numpy as np

    from timeeval.utils.window import Method, ReverseWindowing

    scores = np.random.default_rng(5).random(request["points"])
    seconds, result = cpu(lambda: ReverseWindowing(100, Method[request["method"]]).fit_transform(scores))
    return {"seconds": seconds, "value": hashlib.sha256(result.tobytes()).hexdigest()}


WORK = {"grid": grid, "analysis": analysis, "index": index, "run": run, "window": window}


def main() -> None:
    # What the other side prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        begin = time.perf_counter()
        found = WORK[request["kind"]](request)
        answers.write(json.dumps({**found, "wall": time.perf_counter() - begin}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
