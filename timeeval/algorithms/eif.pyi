from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def eif(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Extended Isolation Forest (EIF): unsupervised, multivariate; image ``ghcr.io/timeeval/eif:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``extension_level`` (int, None): Extension level.
    - ``limit`` (int, None): Limit.
    - ``max_samples`` (float, None): Maximum samples.
    - ``n_trees`` (int, 200): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
