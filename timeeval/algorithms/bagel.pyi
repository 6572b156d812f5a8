from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def bagel(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Bagel: semi-supervised, univariate; image ``ghcr.io/timeeval/bagel:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 128): Batch size.
    - ``cuda`` (boolean, False): CUDA, on or off.
    - ``dropout`` (float, 0.1): Dropout.
    - ``early_stopping_delta`` (float, 0.5): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 50): Epochs.
    - ``hidden_layer_shape`` (List[int], [100, 100]): Hidden layer shape: a list of numbers.
    - ``latent_size`` (int, 8): Latent size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``window_size`` (int, 120): Window size.
    """
