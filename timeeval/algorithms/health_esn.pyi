from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def health_esn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """HealthESN: semi-supervised, multivariate; image ``ghcr.io/timeeval/health_esn:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``activation`` (enum[tanh,sigmoid], 'tanh'): Activation: one of tanh, sigmoid.
    - ``connectivity`` (float, 0.25): Connectivity.
    - ``linear_hidden_size`` (int, 500): Linear hidden size.
    - ``prediction_window_size`` (int, 20): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``spectral_radius`` (float, 0.6): Spectral radius.
    """
