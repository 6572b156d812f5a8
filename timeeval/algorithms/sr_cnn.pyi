from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def sr_cnn(
    params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None
) -> Algorithm:
    """SR-CNN: semi-supervised, univariate; image ``ghcr.io/timeeval/sr_cnn:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``batch_size`` (int, 256): Batch size.
    - ``early_stopping_delta`` (float, 0.05): Early stopping delta.
    - ``early_stopping_patience`` (int, 10): Early stopping patience.
    - ``epochs`` (int, 1): Epochs.
    - ``learning_rate`` (float, 1e-06): Learning rate.
    - ``n_jobs`` (int, 1): Number of jobs that run at the same time.
    - ``num`` (int, 10): The parameter "num".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``split`` (float, 0.9): Split.
    - ``step`` (int, 64): Step.
    - ``window_size`` (int, 128): Window size.
    """
