from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def ts_bitmap(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """TSBitmap: unsupervised, univariate; image ``ghcr.io/timeeval/ts_bitmap:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alphabet_size`` (int, 5): Alphabet size.
    - ``compression_ratio`` (int, 2): Compression ratio.
    - ``feature_window_size`` (int, 100): Feature window size.
    - ``lag_window_size`` (int, 300): Lag window size.
    - ``lead_window_size`` (int, 200): Lead window size.
    - ``level_size`` (int, 3): Level size.
    - ``random_state`` (int, 42): Seed of the random numbers.
    """
