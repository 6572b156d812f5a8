from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def fft(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """FFT: unsupervised, univariate; image ``ghcr.io/timeeval/fft:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``context_window_size`` (int, 21): Context window size.
    - ``fft_parameters`` (int, 5): FFT parameters.
    - ``local_outlier_threshold`` (float, 0.6): Local outlier threshold.
    - ``max_anomaly_window_size`` (int, 50): Maximum anomaly window size.
    - ``max_sign_change_distance`` (int, 10): Maximum sign change distance.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
