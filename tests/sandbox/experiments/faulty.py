"""Algorithms that fail in each way an algorithm can, beside one that does not."""

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import DockerAdapter, FunctionAdapter
from timeeval.durations import Duration
from timeeval.params import FixedParameters

MB = 1024**2


def fine(data: np.ndarray, args: dict) -> np.ndarray:
    return np.abs(data[:, 0].astype(float) - np.mean(data[:, 0].astype(float)))


def raises(data: np.ndarray, args: dict) -> np.ndarray:
    raise ValueError("no anomalies on Sundays")


def misbehave(name: str, params: dict, **options: object) -> Algorithm:
    adapter = DockerAdapter("timeeval-test/misbehave", tag="1", **options)
    return Algorithm(name, adapter, data_as_file=True, param_config=FixedParameters(params))


datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
TimeEval(
    datasets,
    [("NAB-realTraffic", "speed_6005")],
    [
        Algorithm("fine", FunctionAdapter(fine)),
        Algorithm("raises", FunctionAdapter(raises)),
        misbehave("fine-container", {}),
        misbehave("exits", {"exit": 3}),
        misbehave("eats", {"eat": 256 * MB}, memory_limit_overwrite=64 * MB),
        misbehave("sleeps", {"sleep": 600}, timeout=Duration("3 seconds")),
    ],
    distributed=True,
    metrics=[DefaultMetrics.ROC_AUC],
).run()
