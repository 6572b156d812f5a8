from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def stamp(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """STAMP: unsupervised, univariate; image ``ghcr.io/timeeval/stamp:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (Int, 30): Anomaly window size.
    - ``exclusion_zone`` (Float, 0.5): Exclusion zone.
    - ``n_jobs`` (Int, 1): Number of jobs that run at the same time.
    - ``random_state`` (Int, 42): Seed of the random numbers.
    - ``verbose`` (Int, 1): How much the algorithm reports.
    """

def post_stamp(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
