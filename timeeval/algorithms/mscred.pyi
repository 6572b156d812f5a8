from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def mscred(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """MSCRED: semi-supervised, multivariate; image ``ghcr.io/timeeval/mscred:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 32): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``gap_time`` (int, 10): Gap time.
    - ``learning_rate`` (float, 0.001): Learning rate.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.8): Split.
    - ``test_batch_size`` (int, 256): Test batch size.
    - ``window_size`` (int, 5): Window size.
    - ``windows`` (List[int], [10, 30, 60]): Windows: a list of numbers.
    """

def post_mscred(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
