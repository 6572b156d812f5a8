from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def mtad_gat(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """MTAD-GAT: semi-supervised, multivariate; image ``ghcr.io/timeeval/mtad_gat:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 64): Batch size.
    - ``context_window_size`` (int, 5): Context window size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``gamma`` (float, 0.8): Gamma.
    - ``kernel_size`` (int, 7): Kernel size.
    - ``latent_size`` (int, 300): Latent size.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``linear_layer_shape`` (List[int], [300, 300, 300]): Linear layer shape: a list of numbers.
    - ``mag_window_size`` (int, 3): Mag window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``score_window_size`` (int, 40): Score window size.
    - ``split`` (float, 0.8): Split.
    - ``threshold`` (float, 3): Threshold.
    - ``window_size`` (int, 20): Window size.
    """

def post_mtad_gat(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
