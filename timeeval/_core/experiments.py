"""`Experiment` and `Experiments` under the path that scripts know."""

from timeeval.experiment import Experiment
from timeeval.experiments import Experiments

__all__ = ["Experiment", "Experiments"]
