from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def telemanom(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Telemanom: semi-supervised, multivariate; image ``ghcr.io/timeeval/telemanom:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (Int, 70): Batch size.
    - ``dropout`` (Float, 0.3): Dropout.
    - ``early_stopping_delta`` (Float, 0.0003): Early stopping delta.
    - ``early_stopping_patience`` (Int, 10): Early stopping patience.
    - ``epochs`` (Int, 35): Epochs.
    - ``error_buffer`` (Int, 100): Error buffer.
    - ``lstm_batch_size`` (Int, 64): LSTM batch size.
    - ``p`` (Float, 0.13): The parameter "p".
    - ``prediction_window_size`` (Int, 10): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``smoothing_perc`` (Float, 0.05): Smoothing percentage.
    - ``smoothing_window_size`` (Int, 30): Smoothing window size.
    - ``split`` (Float, 0.8): Split.
    - ``window_size`` (Int, 250): Window size.
    """

def post_telemanom(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
