from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def tarzan(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """TARZAN: semi-supervised, univariate; image ``ghcr.io/timeeval/tarzan:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alphabet_size`` (int, 4): Alphabet size.
    - ``anomaly_window_size`` (int, 20): Anomaly window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """

def post_tarzan(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
