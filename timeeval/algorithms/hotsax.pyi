from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def hotsax(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """HOT SAX: unsupervised, univariate; image ``ghcr.io/timeeval/hotsax:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alphabet_size`` (int, 3): Alphabet size.
    - ``anomaly_window_size`` (int, 100): Anomaly window size.
    - ``normalization_threshold`` (float, 0.01): Normalization threshold.
    - ``num_discords`` (int, None): Number of discords.
    - ``paa_transform_size`` (int, 3): PAA transform size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """

def post_hotsax(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
