from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def dbstream(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """DBStream: unsupervised, multivariate; image ``ghcr.io/timeeval/dbstream:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.1): Alpha.
    - ``distance_metric`` (enum[Euclidean,Manhattan,Maximum], 'Euclidean'): Distance metric: one of Euclidean, Manhattan, Maximum.
    - ``lambda`` (float, 0.001): Lambda.
    - ``min_weight`` (float, 0.0): Minimum weight.
    - ``n_clusters`` (int, 0): Number of clusters.
    - ``radius`` (float, 0.1): Radius.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``shared_density`` (boolean, 'True'): Shared density, on or off.
    - ``window_size`` (int, 20): Window size.
    """
