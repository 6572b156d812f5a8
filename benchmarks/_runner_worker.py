"""Runs in either environment: an evaluation of trivial experiments, timed. Knows only TimeEval 1.5's interface."""

import argparse
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any


def trivial(values: Any, args: Any) -> Any:  # noqa: ANN401, ARG001  arrays of either numpy; what an algorithm gets
    return values[:, 0].astype(float)


def cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def first_result(results: Path, found: list[float]) -> None:
    """Note when the first experiment has written its measurements."""
    while not found:
        for path in results.rglob("metrics.csv"):
            found.append(path.stat().st_mtime)
            return
        time.sleep(0.05)


def remote(arguments: argparse.Namespace) -> dict[str, Any]:
    from timeeval import RemoteConfiguration

    overwrites: dict[str, Any] = {"worker_options": {"n_workers": arguments.slots, "nthreads": 1}}
    if arguments.ssh:
        overwrites["connect_options"] = json.loads(arguments.ssh)
    host = "127.0.0.1"
    return {
        "distributed": True,
        "remote_config": RemoteConfiguration(
            scheduler_host=host, worker_hosts=[host], remote_python=sys.executable, kwargs_overwrites=overwrites
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("experiments", type=int)
    parser.add_argument("--slots", type=int, default=0, help="distributed, so many at a time")
    parser.add_argument("--ssh", default="", help="connection options, JSON")
    arguments = parser.parse_args()

    from timeeval import Algorithm, DatasetManager, TimeEval
    from timeeval.adapters import FunctionAdapter
    from timeeval.params import FullParameterGrid

    manager = DatasetManager(arguments.data, create_if_missing=False)
    datasets = manager.select()
    grid = FullParameterGrid({"a": list(range(max(1, arguments.experiments // len(datasets))))})
    found: list[float] = []
    watcher = threading.Thread(target=first_result, args=(arguments.results, found), daemon=True)
    watcher.start()
    timeeval = TimeEval(
        manager,
        datasets,
        [Algorithm("trivial", FunctionAdapter(trivial), param_config=grid)],
        results_path=arguments.results,
        disable_progress_bar=True,
        n_jobs=arguments.slots or -1,
        **(remote(arguments) if arguments.slots else {}),
    )
    timeeval.run()
    ended = time.time()
    watcher.join(5)
    results = timeeval.results
    answer = {
        "experiments": len(results),
        "ok": int((results["status"].map(str) == "Status.OK").sum()),
        "roc_auc": float(results["ROC_AUC"].astype(float).mean()),
        "files": sorted({path.name for path in Path(timeeval.results_path).glob("trivial/*/*/*/*/*")}),
        "first": (found[0] if found else ended) - float(os.environ["BENCHMARK_BEGAN"]),
        "rest": ended - found[0] if found else 0.0,
        "errors": sorted({str(text)[:200] for text in results["error_message"] if isinstance(text, str) and text})[:3],
        "driver": cpu(resource.RUSAGE_SELF),
        "children": cpu(resource.RUSAGE_CHILDREN),
    }
    sys.stdout.write("\nANSWER " + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
