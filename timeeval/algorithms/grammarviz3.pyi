from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def grammarviz3(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """GrammarViz: unsupervised, univariate; image ``ghcr.io/timeeval/grammarviz3:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alphabet_size`` (int, 4): Alphabet size.
    - ``anomaly_window_size`` (int, 170): Anomaly window size.
    - ``normalization_threshold`` (float, 0.01): Normalization threshold.
    - ``paa_transform_size`` (int, 4): PAA transform size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``use_column_index`` (int, 0): Use column index.
    """

def post_grammarviz(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
