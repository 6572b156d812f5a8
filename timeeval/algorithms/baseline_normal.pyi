from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def baseline_normal(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Normal Baseline: unsupervised, multivariate; image ``ghcr.io/timeeval/baseline_normal:0.3.0``."""
