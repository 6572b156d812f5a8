from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def multi_hmm(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """MultiHMM: supervised, multivariate; image ``ghcr.io/timeeval/multi_hmm:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``discretizer`` (enum[sugeno,choquet,fcm], 'fcm'): Discretizer: one of sugeno, choquet, fcm.
    - ``n_bins`` (int, 10): Number of bins.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
