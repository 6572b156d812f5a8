from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def lstm_vae(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """LSTM-VAE: semi-supervised, univariate; image ``ghcr.io/timeeval/lstm_vae:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 32): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 10): Epochs.
    - ``latent_size`` (int, 5): Latent size.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``lstm_layers`` (int, 10): LSTM layers.
    - ``rnn_hidden_size`` (int, 5): RNN hidden size.
    - ``window_size`` (int, 10): Window size.
    """
