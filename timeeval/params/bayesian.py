"""The configuration whose settings are drawn by a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from timeeval.params.base import ParameterConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.integration.optuna.config import OptunaConfiguration, OptunaStudyConfiguration
    from timeeval.params.params import SearchedParams


class BayesianParameterSearch(ParameterConfig):
    """Settings that Optuna draws one after the other, learning from how well the earlier ones did.

    Parameters
    ----------
    config : OptunaStudyConfiguration
        Number of trials, the metric to improve, and more.
    params : mapping of str to BaseDistribution
        The search space.
    include_default_params : bool
        Try the algorithm's default values first, beside the `n_trials` of the configuration.

    Raises
    ------
    MissingExtraError
        If Optuna is not installed.
    TypeError
        If `params` is not a mapping of distributions.

    Notes
    -----
    Each dataset has a study of its own. Values are drawn when their experiment starts, so as many settings are open at
    a time as experiments run at a time; with one (``n_jobs=1``) a sampler's seed makes the search reproducible.
    """

    def __init__(
        self,
        config: OptunaStudyConfiguration,
        params: Mapping[str, BaseDistribution],
        include_default_params: bool = False,
    ) -> None:
        from timeeval.integration.optuna.params import OptunaParameterSearch

        self._search = OptunaParameterSearch(config, params, include_default_params)

    @property
    def config(self) -> OptunaStudyConfiguration:
        """Settings of the studies."""
        return self._search.config

    def iter(self, algorithm: Algorithm, dataset: Dataset) -> Iterator[SearchedParams]:
        """Go through the settings of the study of a dataset; nothing is drawn yet."""
        return self._search.iter(algorithm, dataset)

    def __len__(self) -> int:
        return len(self._search)

    def update_config(self, global_config: OptunaConfiguration) -> None:
        """Let a configuration of all searches say what this one's own does not."""
        self._search.update_config(global_config)
