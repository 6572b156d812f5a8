from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def mstamp(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """mSTAMP: unsupervised, multivariate; image ``ghcr.io/timeeval/mstamp:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 50): Anomaly window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """

def post_mstamp(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
