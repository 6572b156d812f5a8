from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def damp(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """DAMP: unsupervised, multivariate; image ``ghcr.io/timeeval/damp:0.4.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 50): Anomaly window size.
    - ``lookahead`` (int, None): Lookahead.
    - ``max_lag`` (int, None): Maximum lag.
    - ``n_init_train`` (int, 100): The parameter "n_init_train".
    - ``random_state`` (int, 42): Seed of the random numbers.
    """

def post_damp(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
