from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def if_lof(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """IF-LOF: unsupervised, multivariate; image ``ghcr.io/timeeval/if_lof:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.5): Alpha.
    - ``m`` (int, None): The parameter "m".
    - ``max_samples`` (float, None): Maximum samples.
    - ``n_neighbors`` (int, 10): Number of neighbors.
    - ``n_trees`` (int, 200): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
