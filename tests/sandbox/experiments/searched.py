"""A parameter search on all nodes: they have no Optuna, and need none."""

import importlib.util

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler

from timeeval import Algorithm, DatasetManager, DefaultMetrics, TimeEval
from timeeval.adapters import FunctionAdapter
from timeeval.integration.optuna import OptunaStudyConfiguration
from timeeval.params import BayesianParameterSearch


def shifted(data: np.ndarray, args: dict) -> np.ndarray:
    assert importlib.util.find_spec("optuna") is None
    return np.abs(data[:, 0].astype(float) - args["shift"])


search = BayesianParameterSearch(
    OptunaStudyConfiguration(n_trials=9, metric=DefaultMetrics.ROC_AUC, sampler=TPESampler(seed=1)),
    {"shift": FloatDistribution(0.0, 100.0)},
)
TimeEval(
    DatasetManager("/srv/timeeval/data/nab", create_if_missing=False),
    [("NAB-realTraffic", "speed_6005")],
    [Algorithm("shifted", FunctionAdapter(shifted), param_config=search)],
    distributed=True,
).run()
