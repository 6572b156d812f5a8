from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def norma(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """NormA: unsupervised, univariate; image ``ghcr.io/timeeval/norma:0.3.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 20): Anomaly window size.
    - ``normal_model_percentage`` (float, 0.5): Normal model percentage.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """

def _post_norma(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
