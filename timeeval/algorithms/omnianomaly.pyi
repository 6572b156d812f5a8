from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def omnianomaly(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """OmniAnomaly: semi-supervised, multivariate; image ``ghcr.io/timeeval/omnianomaly:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 50): Batch size.
    - ``epochs`` (int, 10): Epochs.
    - ``l2_reg`` (float, 0.0001): L2 regularization.
    - ``latent_size`` (int, 3): Latent size.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``linear_hidden_size`` (int, 500): Linear hidden size.
    - ``nf_layers`` (int, 20): Nf layers.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``rnn_hidden_size`` (int, 500): RNN hidden size.
    - ``split`` (float, 0.8): Split.
    - ``window_size`` (int, 100): Window size.
    """

def post_omni_anomaly(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
