from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def arima(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """ARIMA: unsupervised, univariate; image ``ghcr.io/timeeval/arima:0.3.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``differencing_degree`` (int, 0): Differencing degree.
    - ``distance_metric`` (enum[Euclidean,Mahalanobis,Garch,SSA,Fourier,DTW,EDRS,TWED], 'Euclidean'): Distance metric: one of Euclidean, Mahalanobis, Garch, SSA, Fourier, DTW, EDRS, TWED.
    - ``max_lag`` (int, 30000): Maximum lag.
    - ``max_p`` (int, 5): Maximum p.
    - ``max_q`` (int, 5): Maximum q.
    - ``p_start`` (int, 1): The parameter "p_start".
    - ``q_start`` (int, 1): The parameter "q_start".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``window_size`` (int, 20): Window size.
    """
