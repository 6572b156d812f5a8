"""Bayesian parameter search by Optuna, which is imported when it is needed."""

from timeeval.integration.optuna.config import OptunaConfiguration, OptunaStudyConfiguration
from timeeval.integration.optuna.module import OptunaModule
from timeeval.integration.optuna.params import OptunaLazyParams, OptunaParameterSearch

__all__ = [
    "OptunaConfiguration",
    "OptunaLazyParams",
    "OptunaModule",
    "OptunaParameterSearch",
    "OptunaStudyConfiguration",
]
