from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def laser_dbn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """LaserDBN: semi-supervised, multivariate; image ``ghcr.io/timeeval/laser_dbn:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``n_bins`` (int, 10): Number of bins.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``timesteps`` (int, 2): Timesteps.
    """
