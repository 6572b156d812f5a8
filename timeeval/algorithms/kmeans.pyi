from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def kmeans(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """k-Means: unsupervised, multivariate; image ``ghcr.io/timeeval/kmeans:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 20): Anomaly window size.
    - ``n_clusters`` (int, 20): Number of clusters.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``stride`` (int, 1): Stride.
    """
