from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def ocean_wnn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """OceanWNN: semi-supervised, univariate; image ``ghcr.io/timeeval/ocean_wnn:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 64): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``hidden_size`` (int, 20): Hidden size.
    - ``learning_rate`` (float, 0.01): Learning rate.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``test_batch_size`` (int, 256): Test batch size.
    - ``threshold_percentile`` (float, 0.99): Threshold percentile.
    - ``train_window_size`` (int, 20): Train window size.
    - ``wavelet_a`` (float, -2.5): Wavelet a.
    - ``wavelet_cs_C`` (float, 1.75): Wavelet cs C.
    - ``wavelet_k`` (float, -1.5): Wavelet k.
    - ``wavelet_wbf`` (enum[mexican_hat,central_symmetric,morlet], 'mexican_hat'): Wavelet wbf: one of mexican_hat, central_symmetric, morlet.
    - ``with_threshold`` (boolean, 'True'): With threshold, on or off.
    """
