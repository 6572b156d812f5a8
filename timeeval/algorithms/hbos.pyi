from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def hbos(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """HBOS: unsupervised, multivariate; image ``ghcr.io/timeeval/hbos:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.1): Alpha.
    - ``bin_tol`` (float, 0.5): Bin tolerance.
    - ``n_bins`` (int, 10): Number of bins.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
