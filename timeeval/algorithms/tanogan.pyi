from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def tanogan(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """TAnoGan: semi-supervised, multivariate; image ``ghcr.io/timeeval/tanogan:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 32): Batch size.
    - ``cuda`` (boolean, 'False'): CUDA, on or off.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``iterations`` (int, 25): Iterations.
    - ``learning_rate`` (float, 0.0002): Learning rate.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``window_size`` (int, 30): Window size.
    """

def post_tanogan(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
