from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def sr(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Spectral Residual (SR): unsupervised, univariate; image ``ghcr.io/timeeval/sr:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``mag_window_size`` (int, 3): Mag window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``score_window_size`` (int, 40): Score window size.
    - ``window_size`` (int, 50): Window size.
    """
