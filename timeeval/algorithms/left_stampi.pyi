from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def left_stampi(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Left STAMPi: unsupervised, univariate; image ``ghcr.io/timeeval/left_stampi:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 50): Anomaly window size.
    - ``n_init_train`` (int, 100): The parameter "n_init_train".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``use_column_index`` (int, 0): Use column index.
    """

def post_left_stampi(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
