from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def ssa(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """SSA: unsupervised, univariate; image ``ghcr.io/timeeval/ssa:1.0.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.2): Alpha.
    - ``ep`` (int, 3): The parameter "ep".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``rf_method`` (Enum[all,alpha], 'alpha'): Rf method: one of all, alpha.
    - ``window_size`` (int, 20): Window size.
    """
