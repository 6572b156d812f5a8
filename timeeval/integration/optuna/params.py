"""Settings that a study draws when their experiments start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timeeval.integration.optuna.imported import optuna
from timeeval.integration.optuna.study import Study
from timeeval.params.base import ParameterConfig
from timeeval.params.params import SearchedParams

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.integration.optuna.config import OptunaConfiguration, OptunaStudyConfiguration
    from timeeval.metrics import Metric


class OptunaLazyParams(SearchedParams):
    """A setting of a study; before `materialize` only its names are known.

    Parameters
    ----------
    study_name : str
        Name of the study.
    index : int
        Number of the setting in the study, from 0.
    distributions : mapping of str to BaseDistribution
        The search space.
    config : OptunaStudyConfiguration
        Of the study.
    study : Study, optional
        Shared by the settings of a search; default: one of its own.
    """

    def __init__(
        self,
        study_name: str,
        index: int,
        distributions: Mapping[str, BaseDistribution],
        config: OptunaStudyConfiguration,
        *,
        study: Study | None = None,
    ) -> None:
        self._name = study_name
        self._index = index
        self._distributions = distributions
        self._config = config
        self._shared = study or Study(study_name, distributions, config)
        self._trial: Any = None

    @property
    def _study(self) -> Any:  # noqa: ANN401 - optuna.Study
        return self._shared.study

    @property
    def objective(self) -> Metric:
        """The metric that the study improves."""
        return self._config.metric

    def description(self) -> dict[str, Any]:
        """Return the search that the values will come from, JSON-able."""
        to_json = optuna().distributions.distribution_to_json
        return {
            "uid": self.uid(),
            "space": {name: to_json(distribution) for name, distribution in self._distributions.items()},
            "objective": [self.objective.name, self.objective.arguments(), self.objective.definition_version],
            "direction": str(self._config.direction),
        }

    def attach(self, runs: Sequence[str]) -> None:
        """Belong to the runs of a results folder."""
        self._shared.attach(runs)

    def materialize(self) -> OptunaLazyParams:
        """Ask the study for the values, once.

        Raises
        ------
        ValueError
            If no storage is configured.
        StudyError
            If the study cannot be opened or asked.
        """
        if self._trial is None:
            self._trial = self._shared.draw(self.uid(), self._index)
        return self

    def tell(self, value: float | None, *, node: str | None = None, hyper_params: str | None = None) -> None:
        """Tell the study the value of its metric, None if there is none; at most the first time counts."""
        self._shared.tell(self.uid(), value, node=node, hyper_params=hyper_params)

    def assess(self, y_true: np.ndarray[Any, Any], y_score: np.ndarray[Any, Any]) -> float:
        """Compute the metric and tell the study."""
        value = float(self.objective(y_true, y_score))
        self.tell(value)
        return value

    def fail(self) -> None:
        """Tell the study that this setting has no value."""
        self.tell(None)

    def uid(self) -> str:
        """Name of the study and number of the setting."""
        return f"{self._name}-{self._index}"

    def to_dict(self) -> dict[str, Any]:
        """Return the values.

        Raises
        ------
        ValueError
            If they are not drawn yet.
        """
        if self._trial is None:
            raise ValueError(f"The values of {self.uid()} are not drawn yet: call materialize() first.")
        return dict(self._trial.params)

    def items(self) -> Any:  # noqa: ANN401 - an ItemsView, or pairs of the same shape
        """Go through names and values; before the values are drawn, through names and the setting's id."""
        if self._trial is None:
            return dict.fromkeys(self._distributions, self.uid()).items()
        return self.to_dict().items()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._distributions)

    def __len__(self) -> int:
        return len(self._distributions)


class OptunaParameterSearch(ParameterConfig):
    """A study per dataset that searches an algorithm's parameters.

    Parameters
    ----------
    config : OptunaStudyConfiguration
        Settings of the studies.
    params : mapping of str to BaseDistribution
        The search space.
    include_default_params : bool
        Try the algorithm's default values first, beside the `n_trials` of the configuration.

    Notes
    -----
    A study is called ``<algorithm>-<dataset>``; where two datasets of different collections have one name, the second
    one's is ``<algorithm>-<collection>-<dataset>``. It is created when its first setting is drawn.
    """

    def __init__(
        self,
        config: OptunaStudyConfiguration,
        params: Mapping[str, BaseDistribution],
        include_default_params: bool = False,
    ) -> None:
        given: object = params
        if not isinstance(given, Mapping):
            raise TypeError(f"The search space is not a dict of distributions but {type(given).__name__}.")
        kind = optuna().distributions.BaseDistribution
        for name, distribution in params.items():
            if not isinstance(distribution, kind):
                raise TypeError(f"Parameter {name!r} of the search space is no distribution but {distribution!r}.")
        self._given = self._config = config
        self._distributions = dict(params)
        self._include_default_params = include_default_params
        self._names: dict[str, tuple[str, str]] = {}

    @property
    def config(self) -> OptunaStudyConfiguration:
        """Settings of the studies, with those that `update_config` filled in."""
        return self._config

    def update_config(self, global_config: OptunaConfiguration) -> None:
        """Let a configuration of all searches say what this one's own does not."""
        self._config = self._given.update_unset_options(global_config)

    def iter(self, algorithm: Algorithm, dataset: Dataset) -> Iterator[OptunaLazyParams]:
        """Go through the settings of the study of a dataset; nothing is drawn yet."""
        name = self._study_name(algorithm, dataset)
        defaults = _defaults(algorithm, self._distributions) if self._include_default_params else {}
        attributes = {
            "algorithm": algorithm.name,
            "dataset": dataset.name,
            "metric": self._config.metric.name,
            "direction": str(getattr(self._config.direction, "name", self._config.direction)).lower(),
            "includes_default_params": self._include_default_params,
        }
        study = Study(name, self._distributions, self._config, attributes, defaults)
        for index in range(len(self)):
            yield OptunaLazyParams(name, index, self._distributions, self._config, study=study)

    def _study_name(self, algorithm: Algorithm, dataset: Dataset) -> str:
        name = f"{algorithm.name}-{dataset.name}"
        if self._names.setdefault(name, dataset.datasetId) == dataset.datasetId:
            return name
        return f"{algorithm.name}-{dataset.collection_name}-{dataset.name}"

    def __len__(self) -> int:
        return self._config.n_trials + int(self._include_default_params)


def _defaults(algorithm: Algorithm, distributions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the algorithm's default values of searched parameters; those without one are drawn."""
    found = {}
    for name, distribution in distributions.items():
        schema = algorithm.param_schema.get(name, {})
        value = _typed(str(schema.get("type", "")).lower(), schema.get("defaultValue"))
        if value is not None and distribution._contains(distribution.to_internal_repr(value)):  # noqa: SLF001
            found[name] = value
    return found


def _typed(kind: str, value: Any) -> Any:  # noqa: ANN401 - manifests write some values as text
    if value is None:
        return None
    if kind in {"int", "float"}:
        return {"int": int, "float": float}[kind](value)
    if kind in {"boolean", "bool"}:
        return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
    return str(value) if kind == "str" or kind.startswith("enum") else None
