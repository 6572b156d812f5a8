from typing import Any

from numpy import ndarray

from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def torsk(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """Torsk: unsupervised, multivariate; image ``ghcr.io/timeeval/torsk:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``context_window_size`` (int, 10): Context window size.
    - ``density`` (float, 0.01): Density.
    - ``imed_loss`` (boolean, False): IMED loss, on or off.
    - ``input_map_scale`` (float, 0.125): Input map scale.
    - ``input_map_size`` (int, 100): Input map size.
    - ``prediction_window_size`` (int, 20): Prediction window size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``reservoir_representation`` (enum[sparse,dense], 'sparse'): Reservoir representation: one of sparse, dense.
    - ``scoring_large_window_size`` (int, 100): Scoring large window size.
    - ``scoring_small_window_size`` (int, 10): Scoring small window size.
    - ``spectral_radius`` (float, 2.0): Spectral radius.
    - ``tikhonov_beta`` (float, None): Tikhonov beta.
    - ``train_method`` (enum[pinv_lstsq,pinv_svd,tikhonov], 'pinv_svd'): Train method: one of pinv_lstsq, pinv_svd, tikhonov.
    - ``train_window_size`` (int, 50): Train window size.
    - ``transient_window_size`` (int, 10): Transient window size.
    - ``verbose`` (int, 2): How much the algorithm reports.
    """

def _post_torsk(scores: ndarray[Any, Any], args: dict[str, Any]) -> ndarray[Any, Any]: ...
