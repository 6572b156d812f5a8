from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def generic_rf(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Random Forest Regressor (RR): semi-supervised, univariate; image ``ghcr.io/timeeval/generic_rf:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``bootstrap`` (boolean, True): Bootstrap, on or off.
    - ``max_depth`` (int, None): Maximum depth.
    - ``max_features_method`` (enum[auto,sqrt,log2], 'auto'): Maximum features method: one of auto, sqrt, log2.
    - ``max_samples`` (float, None): Maximum samples.
    - ``min_samples_leaf`` (int, 1): Minimum samples leaf.
    - ``min_samples_split`` (int, 2): Minimum samples split.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_trees`` (int, 100): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``train_window_size`` (int, 50): Train window size.
    - ``verbose`` (int, 0): How much the algorithm reports.
    """
