from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def s_h_esd(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """S-H-ESD (Twitter): unsupervised, univariate; image ``ghcr.io/timeeval/s_h_esd:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``max_anomalies`` (float, 0.05): Maximum anomalies.
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``timestamp_unit`` (enum[m,h,d], 'm'): Timestamp unit: one of m, h, d.
    """
