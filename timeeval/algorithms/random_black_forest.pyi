from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def random_black_forest(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Random Black Forest (RR): semi-supervised, multivariate; image ``ghcr.io/timeeval/random_black_forest:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``bootstrap`` (boolean, True): Bootstrap, on or off.
    - ``max_depth`` (int, None): Maximum depth.
    - ``max_features_method`` (enum[auto,sqrt,log2], 'auto'): Maximum features method: one of auto, sqrt, log2.
    - ``max_features_per_estimator`` (float, 0.5): Maximum features per estimator.
    - ``max_samples`` (float, None): Maximum samples.
    - ``min_samples_leaf`` (int, 1): Minimum samples leaf.
    - ``min_samples_split`` (int, 2): Minimum samples split.
    - ``n_estimators`` (int, 2): Number of estimators.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_trees`` (int, 100): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``train_window_size`` (int, 50): Train window size.
    - ``verbose`` (int, 0): How much the algorithm reports.
    """
