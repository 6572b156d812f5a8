from timeeval.algorithm import Algorithm
from timeeval.durations import TimeSpan
from timeeval.params.base import ParameterConfig

def dspot(params: ParameterConfig | None = None, skip_pull: bool = False, timeout: TimeSpan | None = None) -> Algorithm:
    """DSPOT: unsupervised, univariate; image ``ghcr.io/timeeval/dspot:0.3.0``.

    Parameters of the algorithm (type, default):

    - ``alert`` (boolean, 'True'): The parameter "alert", on or off.
    - ``bounded`` (boolean, 'True'): The parameter "bounded", on or off.
    - ``down`` (boolean, 'True'): The parameter "down", on or off.
    - ``level`` (float, 0.99): Level.
    - ``max_excess`` (int, 200): Maximum excess.
    - ``n_init`` (int, 1000): The parameter "n_init".
    - ``q`` (float, 0.001): The parameter "q".
    - ``random_state`` (int, 42): Seed of the random numbers.
    - ``up`` (boolean, 'True'): The parameter "up", on or off.
    """
