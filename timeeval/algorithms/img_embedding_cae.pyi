from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def img_embedding_cae(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """ImageEmbeddingCAE: semi-supervised, univariate; image ``ghcr.io/timeeval/img_embedding_cae:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 512): Anomaly window size.
    - ``batch_size`` (int, 32): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 30): Epochs.
    - ``kernel_size`` (int, 2): Kernel size.
    - ``latent_size`` (int, 100): Latent size.
    - ``leaky_relu_alpha`` (float, 0.03): Leaky relu alpha.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``num_kernels`` (int, 64): Number of kernels.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``test_batch_size`` (int, 128): Test batch size.
    """
