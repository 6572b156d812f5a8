from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def median_method(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """MedianMethod: unsupervised, univariate; image ``ghcr.io/timeeval/median_method:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``neighbourhood_size`` (int, 100): Neighbourhood size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
