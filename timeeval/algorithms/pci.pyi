from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def pci(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """PCI: unsupervised, univariate; image ``ghcr.io/timeeval/pci:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``thresholding_p`` (float, 0.05): Thresholding p.
    - ``window_size`` (int, 20): Window size.
    """
