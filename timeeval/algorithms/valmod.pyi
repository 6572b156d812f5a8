from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def valmod(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """VALMOD: unsupervised, univariate; image ``ghcr.io/timeeval/valmod:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``exclusion_zone`` (Float, 0.5): Exclusion zone.
    - ``heap_size`` (Int, 50): Heap size.
    - ``max_anomaly_window_size`` (Int, 40): Maximum anomaly window size.
    - ``min_anomaly_window_size`` (Int, 30): Minimum anomaly window size.
    - ``random_state`` (Int, 42): Seed of the random numbers.
    - ``verbose`` (Int, 1): How much the algorithm reports.
    """

def post_valmod(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
