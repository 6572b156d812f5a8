"""Configurations of algorithm parameters."""

from timeeval.params.base import ParameterConfig
from timeeval.params.bayesian import BayesianParameterSearch
from timeeval.params.fixed import FixedParameters
from timeeval.params.grid_search import FullParameterGrid, IndependentParameterGrid
from timeeval.params.params import FixedParams, Params

__all__ = [
    "BayesianParameterSearch",
    "FixedParameters",
    "FixedParams",
    "FullParameterGrid",
    "IndependentParameterGrid",
    "ParameterConfig",
    "Params",
]
