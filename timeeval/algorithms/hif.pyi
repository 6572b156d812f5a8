from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def hif(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Hybrid Isolation Forest (HIF): supervised, multivariate; image ``ghcr.io/timeeval/hif:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``max_samples`` (float, None): Maximum samples.
    - ``n_trees`` (int, 1024): Number of trees.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
