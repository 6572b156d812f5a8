from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def pst(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """PST: unsupervised, univariate; image ``ghcr.io/timeeval/pst:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``max_depth`` (int, 4): Maximum depth.
    - ``n_bins`` (int, 5): Number of bins.
    - ``n_min`` (int, 1): The parameter "n_min".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``sim`` (enum[SIMo,SIMn], 'SIMn'): Sim: one of SIMo, SIMn.
    - ``window_size`` (int, 5): Window size.
    - ``y_min`` (float, None): Y minimum.
    """
