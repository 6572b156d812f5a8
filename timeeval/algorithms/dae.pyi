from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def dae(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """DenoisingAutoEncoder (DAE): semi-supervised, multivariate; image ``ghcr.io/timeeval/dae:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``early_stopping_delta`` (float, 0.5): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 10): Epochs.
    - ``latent_size`` (int, 32): Latent size.
    - ``learning_rate`` (float, '0.005'): Learning rate.
    - ``noise_ratio`` (float, 0.1): Noise ratio.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    """
