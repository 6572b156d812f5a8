from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def triple_es(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Triple ES (Holt-Winter's): unsupervised, univariate; image ``ghcr.io/timeeval/triple_es:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``period`` (int, 100): Period.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``seasonal`` (enum[add, mul], 'add'): Seasonal: one of add, mul.
    - ``train_window_size`` (int, 200): Train window size.
    - ``trend`` (enum[add, mul], 'add'): Trend: one of add, mul.
    """
