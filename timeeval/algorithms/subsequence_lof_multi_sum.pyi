from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def subsequence_lof_multi_sum(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Subsequence LOF Multivariate Sum: unsupervised, multivariate; image ``ghcr.io/timeeval/subsequence_lof_multi_sum:latest``.

    Parameters of the algorithm (type, default):

    - ``distance_metric_order`` (int, 2): Distance metric order.
    - ``leaf_size`` (int, 30): Leaf size.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_neighbors`` (int, 20): Number of neighbors.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``window_size`` (int, 100): Window size.
    """

def post_sLOF(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
