from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def novelty_svr(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """NoveltySVR: unsupervised, univariate; image ``ghcr.io/timeeval/novelty_svr:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``C`` (float, 1.0): The parameter "C".
    - ``anomaly_window_size`` (int, 6): Anomaly window size.
    - ``coef0`` (float, 0.0): The parameter "coef0".
    - ``degree`` (int, 3): Degree.
    - ``epsilon`` (float, 0.1): Epsilon.
    - ``forgetting_time`` (int, None): Forgetting time.
    - ``gamma`` (float, None): Gamma.
    - ``kernel`` (enum[linear,poly,rbf,sigmoid,rbf-gaussian,rbf-exp], 'rbf'): Kernel: one of linear, poly, rbf, sigmoid, rbf-gaussian, rbf-exp.
    - ``lower_suprise_bound`` (int, None): Lower surprise bound.
    - ``n_init_train`` (int, 500): The parameter "n_init_train".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``scaling`` (enum[None,standard,robust,power], 'standard'): Scaling: one of None, standard, robust, power.
    - ``stabilized`` (boolean, 'True'): Stabilized, on or off.
    - ``tol`` (float, 0.001): Tolerance.
    - ``train_window_size`` (int, 16): Train window size.
    - ``verbose`` (int, 0): How much the algorithm reports.
    """
