"""Experiments that leave a line on their node for each time they are computed, and may misbehave while they are."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.durations import Duration
from timeeval.params import FixedParameters
from timeeval.resource_constraints import ResourceConstraints

MARKS = sys.argv[1]
SECONDS = float(sys.argv[2])
REPETITIONS = int(sys.argv[3])
RUDE = sys.argv[4:]
FLOOD = 50 * 1024 * 1024


def counted(data: np.ndarray, args: dict) -> np.ndarray:
    marks = Path(args["marks"])
    with marks.open("a", encoding="utf-8") as file:
        file.write("executed\n")
    time.sleep(args["seconds"])
    return data[:, 0].astype(float)


def floods(data: np.ndarray, args: dict) -> np.ndarray:
    sys.stderr.write("x" * FLOOD)
    sys.stderr.flush()
    os.write(2, b"y" * FLOOD)
    return data[:, 0].astype(float)


def stubborn(data: np.ndarray, args: dict) -> np.ndarray:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    time.sleep(600)
    return data[:, 0].astype(float)


parameters = FixedParameters({"marks": MARKS, "seconds": SECONDS})
algorithms = {
    "counted": Algorithm("counted", FunctionAdapter(counted), param_config=parameters),
    "floods": Algorithm("floods", FunctionAdapter(floods)),
    "stubborn": Algorithm("stubborn", FunctionAdapter(stubborn)),
}
datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
TimeEval(
    datasets,
    [("NAB-realTraffic", "speed_6005")],
    [algorithms[name] for name in ("counted", *RUDE)],
    repetitions=REPETITIONS,
    distributed=True,
    resource_constraints=ResourceConstraints(execute_timeout=Duration("30 seconds" if not RUDE else "4 seconds")),
    metrics=[DefaultMetrics.ROC_AUC],
).run()
