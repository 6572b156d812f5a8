from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def copod(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """COPOD: unsupervised, multivariate; image ``ghcr.io/timeeval/copod:0.4.0``.

    Parameters of the algorithm (type, default):

    - ``random_state`` (int, 42): Seed of the random numbers.
    """
