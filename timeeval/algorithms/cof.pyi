from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def cof(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """COF: unsupervised, multivariate; image ``ghcr.io/timeeval/cof:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``n_neighbors`` (int, 20): Number of neighbors.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
