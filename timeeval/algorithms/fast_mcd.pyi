from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def fast_mcd(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Fast-MCD: semi-supervised, multivariate; image ``ghcr.io/timeeval/fast_mcd:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``store_precision`` (boolean, True): Store precision, on or off.
    - ``support_fraction`` (float, None): Support fraction.
    """
