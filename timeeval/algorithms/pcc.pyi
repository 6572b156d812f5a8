from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def pcc(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """PCC: unsupervised, multivariate; image ``ghcr.io/timeeval/pcc:0.3.1``.

    Parameters of the algorithm (type, default):

    - ``max_iter`` (int, None): Maximum iterations.
    - ``n_components`` (int, None): Number of components.
    - ``n_selected_components`` (int, None): Number of selected components.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``svd_solver`` (enum[auto,full,arpack,randomized], 'auto'): SVD solver: one of auto, full, arpack, randomized.
    - ``tol`` (float, 0.0): Tolerance.
    - ``whiten`` (boolean, 'False'): Whiten, on or off.
    """
