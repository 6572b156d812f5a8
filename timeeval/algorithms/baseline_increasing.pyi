from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def baseline_increasing(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """Increasing Baseline: unsupervised, multivariate; image ``ghcr.io/timeeval/baseline_increasing:0.3.0``."""
