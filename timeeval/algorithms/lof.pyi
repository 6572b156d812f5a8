from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def lof(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """LOF: unsupervised, multivariate; image ``ghcr.io/timeeval/lof:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``distance_metric_order`` (int, 2): Distance metric order.
    - ``leaf_size`` (int, 30): Leaf size.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_neighbors`` (int, 20): Number of neighbors.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
