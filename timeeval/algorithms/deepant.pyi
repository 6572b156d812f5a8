from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def deepant(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """DeepAnT: semi-supervised, multivariate; image ``ghcr.io/timeeval/deepant:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 45): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 50): Epochs.
    - ``learning_rate`` (float, 1e-05): Learning rate.
    - ``prediction_window_size`` (int, 1): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``window_size`` (int, 45): Window size.
    """

def _post_deepant(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
