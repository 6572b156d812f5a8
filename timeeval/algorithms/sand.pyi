from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def sand(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """SAND: unsupervised, univariate; image ``ghcr.io/timeeval/sand:0.3.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``alpha`` (float, 0.5): Alpha.
    - ``anomaly_window_size`` (int, 75): Anomaly window size.
    - ``iter_batch_size`` (int, 500): Iterations batch size.
    - ``n_clusters`` (int, 6): Number of clusters.
    - ``n_init_train`` (int, 2000): The parameter "n_init_train".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``use_column_index`` (int, 0): Use column index.
    """
