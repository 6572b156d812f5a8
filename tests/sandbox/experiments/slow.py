"""Many experiments of a second each, for tests that end a run in its middle."""

import sys
import time

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter

SECONDS = float(sys.argv[1])
REPETITIONS = int(sys.argv[2])


def slow(data: np.ndarray, args: dict) -> np.ndarray:
    time.sleep(SECONDS)
    return data[:, 0].astype(float)


datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
TimeEval(
    datasets,
    [("NAB-realTraffic", "speed_6005")],
    [Algorithm("slow", FunctionAdapter(slow))],
    repetitions=REPETITIONS,
    distributed=True,
    metrics=[DefaultMetrics.ROC_AUC],
).run()
