"""Which modules an evaluation needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timeeval.params.bayesian import BayesianParameterSearch

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.integration.base import TimeEvalModule


def searches_of(algorithms: Sequence[Algorithm]) -> list[BayesianParameterSearch]:
    """Return the parameter searches of algorithms."""
    return [a.param_config for a in algorithms if isinstance(a.param_config, BayesianParameterSearch)]


def modules_for(
    algorithms: Sequence[Algorithm], configs: Mapping[str, Any], *, distributed: bool
) -> dict[str, TimeEvalModule]:
    """Return the modules that an evaluation of these algorithms needs, by name.

    Parameters
    ----------
    algorithms : sequence of Algorithm
        What is evaluated.
    configs : mapping
        Configurations of modules, by name; ``"optuna"``: an `OptunaConfiguration`.
    distributed : bool
        Whether the evaluation is distributed.
    """
    if not searches_of(algorithms):
        return {}
    from timeeval.integration.optuna import OptunaConfiguration, OptunaModule

    return {"optuna": OptunaModule(configs.get("optuna") or OptunaConfiguration.default(distributed))}
