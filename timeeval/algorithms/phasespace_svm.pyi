from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def phasespace_svm(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """PhaseSpace-SVM: unsupervised, univariate; image ``ghcr.io/timeeval/phasespace_svm:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``coef0`` (float, 0.0): The parameter "coef0".
    - ``degree`` (int, 3): Degree.
    - ``embed_dim_range`` (List[int], [50, 100, 150]): Embedding dimension range: a list of numbers.
    - ``gamma`` (float, None): Gamma.
    - ``kernel`` (enum[linear,poly,rbf,sigmoid], 'rbf'): Kernel: one of linear, poly, rbf, sigmoid.
    - ``nu`` (float, 0.5): The parameter "nu".
    - ``project_phasespace`` (boolean, 'False'): Project phasespace, on or off.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``tol`` (float, 0.001): Tolerance.
    - ``use_column_index`` (int, 0): Use column index.
    """
