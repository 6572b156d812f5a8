from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def hybrid_knn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Hybrid KNN: semi-supervised, multivariate; image ``ghcr.io/timeeval/hybrid_knn:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 20): Anomaly window size.
    - ``batch_size`` (int, 64): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``linear_layer_shape`` (List[int], [100, 10]): Linear layer shape: a list of numbers.
    - ``n_estimators`` (int, 3): Number of estimators.
    - ``n_neighbors`` (int, 12): Number of neighbors.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``test_batch_size`` (int, 256): Test batch size.
    """

def post_hybrid_knn(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
