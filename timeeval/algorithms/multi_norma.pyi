from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def multi_norma(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """MultiNormA: unsupervised, multivariate; image ``ghcr.io/timeeval/multi_norma:0.3.0``.

    The source is not public: build the image yourself and use ``skip_pull=True``.

    Parameters of the algorithm (type, default):

    - ``anomaly_window_size`` (int, 20): Anomaly window size.
    - ``join_combine_method`` (int, 1): Join combine method.
    - ``max_motifs`` (int, 4096): Maximum motifs.
    - ``motif_detection`` (Enum[stomp,random,mixed], 'mixed'): Motif detection: one of stomp, random, mixed.
    - ``normal_model_percentage`` (float, 0.5): Normal model percentage.
    - ``normalize_join`` (boolean, True): Normalize join, on or off.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``sum_dims`` (boolean, False): Sum dimensions, on or off.
    """
