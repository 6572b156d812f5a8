from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def lstm_ad(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """LSTM-AD: semi-supervised, multivariate; image ``ghcr.io/timeeval/lstm_ad:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 32): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 50): Epochs.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``lstm_layers`` (int, 2): LSTM layers.
    - ``prediction_window_size`` (int, 1): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.9): Split.
    - ``test_batch_size`` (int, 128): Test batch size.
    - ``validation_batch_size`` (int, 128): Validation batch size.
    - ``window_size`` (int, 30): Window size.
    """

def post_lstm_ad(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
