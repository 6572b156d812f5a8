from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def donut(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Donut: semi-supervised, univariate; image ``ghcr.io/timeeval/donut:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``epochs`` (int, 256): Epochs.
    - ``latent_size`` (int, 5): Latent size.
    - ``linear_hidden_size`` (int, 100): Linear hidden size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``regularization`` (float, 0.001): Regularization.
    - ``use_column_index`` (int, 0): Use column index.
    - ``window_size`` (int, 120): Window size.
    """

def post_donut(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
