"""Runs in either environment: one JSON request per line, one answer per line. Knows only TimeEval 1.5's interface."""

import hashlib
import json
import os
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

ARRAYS: dict[str, Any] = {}


class CutError(BaseException):
    """The work took the CPU time it may take; no Exception, because TimeEval 1.5 swallows some of those."""


def load(path: str) -> Any:  # noqa: ANN401  an array of either numpy
    if path not in ARRAYS:
        ARRAYS[path] = np.load(path)
    return ARRAYS[path]


def work(request: dict[str, Any]) -> Callable[[], Any]:
    if request["kind"] == "window":
        from timeeval.utils.window import Method, ReverseWindowing

        scores = load(request["scores"])
        windowing = ReverseWindowing(window_size=request["window"], reduction=Method[request["method"]])
        return lambda: windowing.fit_transform(scores)
    import timeeval.metrics
    from timeeval.metrics.thresholding import TopKRangesThresholding

    labels, scores = load(request["labels"]), load(request["scores"])
    if request["kind"] == "threshold":
        return lambda: TopKRangesThresholding().find_threshold(labels, scores)
    # A fresh object: in TimeEval 1.5 some remember the series they saw first.
    metric = getattr(timeeval.metrics, request["metric"])(**request["options"])
    return lambda: metric(labels, scores)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    job = work(request)
    if request.get("memory"):
        tracemalloc.start()
        job()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return {"megabytes": peak / 1e6}
    begin = time.process_time()
    most = begin + request.get("most", float("inf"))

    def look(*_: object) -> None:
        if time.process_time() > most:
            raise CutError

    # Not a timer of CPU time: while one runs, the kernel counts the process' CPU time in ticks of milliseconds.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        result = job()
    except CutError:
        return {"seconds": time.process_time() - begin, "cut": True}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.process_time() - begin
    if isinstance(result, np.ndarray):
        return {"seconds": seconds, "digest": hashlib.sha256(result.tobytes()).hexdigest()}
    return {"seconds": seconds, "value": float(result)}


def main() -> None:
    # What the other side prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
