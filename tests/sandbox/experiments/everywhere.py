"""One evaluation for every place: `everywhere.py FOLDER yes|no`, a folder of datasets and whether it is distributed."""

import sys

import numpy as np

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval, TrainingType
from timeeval.adapters import FunctionAdapter
from timeeval.metrics import RangePrAUC
from timeeval.params import FullParameterGrid, IndependentParameterGrid


def spectral(data: np.ndarray, args: dict) -> np.ndarray:
    """Filters, and rounds in many places; a negative share is refused."""
    if args["share"] < 0:
        raise ValueError("no share")
    values = data[:, 0].astype(float)
    spectrum = np.fft.rfft(values)
    spectrum[int(len(spectrum) * args["share"]) :] = 0
    return np.abs(values - np.fft.irfft(spectrum, len(values))) / 3


def trained(data: np.ndarray, args: dict) -> np.ndarray:
    """Draws by chance."""
    return np.random.random_sample(len(data)) * args["scale"]


if __name__ == "__main__":
    folder, distributed = sys.argv[1:]
    datasets = DatasetManager(folder, create_if_missing=False)
    TimeEval(
        datasets,
        [*datasets.select(collection="NAB-realTraffic")[:2], ("NAB-semi-realTraffic", "speed_6005")],
        [
            Algorithm("spectral", FunctionAdapter(spectral), param_config=FullParameterGrid({"share": [0.1, 0.5, -1]})),
            Algorithm(
                "trained",
                FunctionAdapter(trained),
                param_config=IndependentParameterGrid({"scale": [2.0]}, {"a": "heuristic:PeriodSizeHeuristic()"}),
                training_type=TrainingType.SEMI_SUPERVISED,
            ),
        ],
        distributed=distributed == "yes",
        metrics=[DefaultMetrics.ROC_AUC, RangePrAUC(buffer_size=20)],
    ).run()
