from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def subsequence_knn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Sub-KNN: unsupervised, multivariate; image ``ghcr.io/timeeval/subsequence_knn:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``distance_metric_order`` (int, 2): Distance metric order.
    - ``leaf_size`` (int, 30): Leaf size.
    - ``method`` (enum[largest,mean,median], 'largest'): Method: one of largest, mean, median.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_neighbors`` (int, 5): Number of neighbors.
    - ``radius`` (float, 1.0): Radius.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``window_size`` (int, 100): Window size.
    """

def post_subsequence_knn(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
