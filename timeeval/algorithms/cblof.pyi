from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def cblof(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """CBLOF: unsupervised, multivariate; image ``ghcr.io/timeeval/cblof:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.9): Alpha.
    - ``beta`` (float, 5): Beta.
    - ``n_clusters`` (int, 8): Number of clusters.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``use_weights`` (boolean, 'False'): Use weights, on or off.
    """
