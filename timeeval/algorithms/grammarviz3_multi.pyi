from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def grammarviz3_multi(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """GrammarViz-Multivariate: unsupervised, multivariate; image ``ghcr.io/timeeval/grammarviz3_multi:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alphabet_size`` (int, 6): Alphabet size.
    - ``anomaly_window_size`` (int, 100): Anomaly window size.
    - ``multi_strategy`` (int, 1): Multi strategy.
    - ``n_discords`` (int, 10): Number of discords.
    - ``normalization_threshold`` (float, 0.01): Normalization threshold.
    - ``numerosity_reduction`` (boolean, True): Numerosity reduction, on or off.
    - ``output_mode`` (int, 2): Output mode.
    - ``paa_transform_size`` (int, 5): PAA transform size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
