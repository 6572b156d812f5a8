from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def normalizing_flows(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Normalizing Flows: supervised, multivariate; image ``ghcr.io/timeeval/normalizing_flows:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 64): Batch size.
    - ``distillation_iterations`` (int, 1): Distillation iterations.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``hidden_layer_shape`` (List[int], [100, 100]): Hidden layer shape: a list of numbers.
    - ``n_hidden_features_factor`` (float, 1.0): The parameter "n_hidden_features_factor".
    - ``percentile`` (float, 0.05): Percentile.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.9): Split.
    - ``teacher_epochs`` (int, 1): Teacher epochs.
    - ``test_batch_size`` (int, 128): Test batch size.
    - ``window_size`` (int, 20): Window size.
    """

def post_nf(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
