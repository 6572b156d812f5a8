"""Experiments that leave a large file beside their scores; one more waits until a file appears on its host."""

import sys
import time
from pathlib import Path

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.adapters.base import Adapter
from timeeval.params import FullParameterGrid

SECONDS = float(sys.argv[1])
COUNT = int(sys.argv[2])
GO = sys.argv[3] if len(sys.argv) > 3 else ""


class Leaving(Adapter):
    """Leaves a model and a link in its results folder."""

    def _call(self, dataset: np.ndarray, args: dict) -> np.ndarray:
        time.sleep(SECONDS)
        (args["results_path"] / "model.bin").write_bytes(b"m" * 1_000_000)
        (args["results_path"] / "link").symlink_to("/etc/passwd")
        return dataset[:, 0].astype(float)


def waits(data: np.ndarray, args: dict) -> np.ndarray:
    while not Path(GO).exists():
        time.sleep(0.1)
    return data[:, 0].astype(float)


datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
TimeEval(
    datasets,
    [("NAB-realTraffic", "speed_6005")],
    [
        Algorithm("leaves", Leaving(), param_config=FullParameterGrid({"number": range(COUNT)})),
        *([Algorithm("waits", FunctionAdapter(waits))] if GO else []),
    ],
    distributed=True,
    metrics=[DefaultMetrics.ROC_AUC],
).run()
