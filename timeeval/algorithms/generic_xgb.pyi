from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def generic_xgb(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """XGBoosting (RR): semi-supervised, univariate; image ``ghcr.io/timeeval/generic_xgb:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``booster`` (enum[gbtree,gblinear,dart], 'gbtree'): Booster: one of gbtree, gblinear, dart.
    - ``colsample_bylevel`` (float, None): The parameter "colsample_bylevel".
    - ``colsample_bynode`` (float, None): The parameter "colsample_bynode".
    - ``colsample_bytree`` (float, None): The parameter "colsample_bytree".
    - ``learning_rate`` (float, 0.1): Learning rate.
    - ``max_depth`` (int, None): Maximum depth.
    - ``max_samples`` (float, None): Maximum samples.
    - ``n_estimators`` (int, 100): Number of estimators.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_trees`` (int, 1): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``train_window_size`` (int, 50): Train window size.
    - ``tree_method`` (enum[auto,exact,approx,hist], 'auto'): Tree method: one of auto, exact, approx, hist.
    - ``verbose`` (int, 0): How much the algorithm reports.
    """
