from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def deepnap(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """DeepNAP: semi-supervised, multivariate; image ``ghcr.io/timeeval/deepnap:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 15): Anomaly window size.
    - ``batch_size`` (int, 32): Batch size.
    - ``dropout`` (float, 0.5): Dropout.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``linear_hidden_size`` (int, 100): Linear hidden size.
    - ``lstm_layers`` (int, 2): LSTM layers.
    - ``partial_sequence_length`` (int, 3): Partial sequence length.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``rnn_hidden_size`` (int, 200): RNN hidden size.
    - ``split`` (float, 0.8): Split.
    - ``validation_batch_size`` (int, 256): Validation batch size.
    """

def post_deepnap(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
