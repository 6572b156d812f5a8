from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def dwt_mlead(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """DWT-MLEAD: unsupervised, univariate; image ``ghcr.io/timeeval/dwt_mlead:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``quantile_epsilon`` (float, 0.01): Quantile epsilon.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``start_level`` (int, 3): Start level.
    - ``use_column_index`` (int, 0): Use column index.
    """
