from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def ensemble_gi(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Ensemble GI: unsupervised, univariate; image ``ghcr.io/timeeval/ensemble_gi:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 50): Anomaly window size.
    - ``max_alphabet_size`` (int, 10): Maximum alphabet size.
    - ``max_paa_transform_size`` (int, 20): Maximum PAA transform size.
    - ``n_estimators`` (int, 10): Number of estimators.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``selectivity`` (float, 0.8): Selectivity.
    - ``window_method`` (enum[sliding,tumbling,orig], 'sliding'): Window method: one of sliding, tumbling, orig.
    """
