from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def robust_pca(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """RobustPCA: semi-supervised, multivariate; image ``ghcr.io/timeeval/robust_pca:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``max_iter`` (int, 1000): Maximum iterations.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
