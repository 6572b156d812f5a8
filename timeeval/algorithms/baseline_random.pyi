from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def baseline_random(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Random Baseline: unsupervised, multivariate; image ``ghcr.io/timeeval/baseline_random:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``random_state`` (int, 42): Seed of the random numbers.
    """
