from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def series2graph(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Series2Graph: unsupervised, univariate; image ``ghcr.io/timeeval/series2graph:0.3.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``query_window_size`` (Int, 75): Query window size.
    - ``random_state`` (Int, 42): Seed of the random numbers.
    - ``rate`` (Int, 30): Rate.
    - ``window_size`` (Int, 50): Window size.
    """

def post_s2g(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
