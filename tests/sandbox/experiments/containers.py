"""An algorithm in a container, many times, for tests that change a host in the middle of a run."""

import sys

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import DockerAdapter
from timeeval.params import FixedParameters
from timeeval.utils.window import ReverseWindowing

REPETITIONS = int(sys.argv[1])
IMAGE = sys.argv[2] if len(sys.argv) > 2 else "timeeval-demo/subsequence-stats"
WINDOW = 50


def per_point(scores: np.ndarray, args: dict) -> np.ndarray:
    return ReverseWindowing(window_size=WINDOW).fit_transform(scores)


datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
TimeEval(
    datasets,
    [("NAB-realTraffic", "speed_6005")],
    [
        Algorithm(
            "stats",
            DockerAdapter(IMAGE, tag="1"),
            postprocess=per_point,
            data_as_file=True,
            param_config=FixedParameters({"window_size": WINDOW}),
        )
    ],
    repetitions=REPETITIONS,
    distributed=True,
    metrics=[DefaultMetrics.ROC_AUC],
).run()
