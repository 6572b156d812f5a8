"""An experiment whose algorithms lie in a package beside it, which is installed nowhere."""

import numpy as np
from methods import Deviation
from methods.deep.median import from_median

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.adapters.base import Adapter


class Scaled(Deviation):
    """A class of the script itself, on top of one of the package."""

    def __call__(self, data: np.ndarray, args: dict) -> np.ndarray:
        return super().__call__(data, args) * 2


class Late(Adapter):
    """Imports a module that nothing names before it runs."""

    def _call(self, dataset: np.ndarray, args: dict) -> np.ndarray:
        import late

        return late.first_column(dataset)


if __name__ == "__main__":
    datasets = DatasetManager("/srv/timeeval/data/nab", create_if_missing=False)
    TimeEval(
        datasets,
        [("NAB-realTraffic", "speed_6005")],
        [
            Algorithm("class", FunctionAdapter(Scaled())),
            Algorithm("function", FunctionAdapter(from_median)),
            Algorithm("late", Late()),
        ],
        distributed=True,
        metrics=[DefaultMetrics.ROC_AUC],
    ).run()
