from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def sarima(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """SARIMA: unsupervised, univariate; image ``ghcr.io/timeeval/sarima:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``exhaustive_search`` (boolean, 'False'): Exhaustive search, on or off.
    - ``max_iter`` (int, 20): Maximum iterations.
    - ``max_lag`` (int, None): Maximum lag.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``period`` (int, 1): Period.
    - ``prediction_window_size`` (int, 10): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``train_window_size`` (int, 500): Train window size.
    """
