from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def iforest(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Isolation Forest (iForest): unsupervised, multivariate; image ``ghcr.io/timeeval/iforest:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``bootstrap`` (boolean, 'False'): Bootstrap, on or off.
    - ``max_features`` (float, 1.0): Maximum features.
    - ``max_samples`` (float, None): Maximum samples.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``n_trees`` (int, 100): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``verbose`` (int, 0): How much the algorithm reports.
    """
