"""Two experiments that end at once, and two that last as long as their node has a file."""

import sys
import time
from pathlib import Path

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter

FILE = sys.argv[1]


def free(data: np.ndarray, args: dict) -> np.ndarray:
    return data[:, 0].astype(float)


def held(data: np.ndarray, args: dict) -> np.ndarray:
    while Path(FILE).exists():
        time.sleep(0.1)
    return data[:, 0].astype(float)


TimeEval(
    DatasetManager("/srv/timeeval/data/nab", create_if_missing=False),
    [("NAB-realTraffic", "speed_6005")],
    [Algorithm("free", FunctionAdapter(free)), Algorithm("held", FunctionAdapter(held))],
    repetitions=2,
    distributed=True,
    metrics=[DefaultMetrics.ROC_AUC],
).run()
