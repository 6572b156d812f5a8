"""Parameter searches of a run: settings are drawn as their experiments start, and told as their outcomes are recorded.

The grid of a search is known from the start, its cells are numbered settings; only their values are not. So the state
machine, the journal and resume treat them like all others, and as many settings are open as experiments run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from timeeval.metrics.scoring import column_names
from timeeval.params.params import FixedParams, SearchedParams
from timeeval.run.model import AttemptEnded, Outcome, Row

if TYPE_CHECKING:
    from timeeval.experiment import Experiment
    from timeeval.metrics import Metric
    from timeeval.run.records import ResultRow, RunInfo

_SAID_BY_THE_ALGORITHM = (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM)


class Searches:
    """The searched settings of a run, by execution key.

    Parameters
    ----------
    params : mapping of str to SearchedParams
        The settings.
    metrics : sequence of Metric
        Metrics of the run; each setting's objective is among them.
    """

    def __init__(self, params: Mapping[str, SearchedParams], metrics: Sequence[Metric]) -> None:
        self._params = params
        columns = dict(zip(map(_identity, metrics), column_names(metrics), strict=True))
        self._columns = {key: columns[_identity(setting.objective)] for key, setting in params.items()}

    @classmethod
    def of(cls, experiments: Mapping[str, Experiment], metrics: Sequence[Metric]) -> Self | None:
        """Return the searches of experiments, None if no setting is searched."""
        found = {key: e.params for key, e in experiments.items() if isinstance(e.params, SearchedParams)}
        return cls(found, metrics) if found else None

    def catch_up(self, runs: Iterable[RunInfo], rows: Iterable[ResultRow]) -> None:
        """Tell the searches what the journal knows and they do not, because a driver was killed in between."""
        ids = [run.id for run in runs]
        for setting in self._params.values():
            setting.attach(ids)
        for row in rows:
            if row.key in self._params and row.outcome in _SAID_BY_THE_ALGORITHM:
                value = row.metrics.get(self._columns[row.key])
                self._params[row.key].tell(value, node=row.host, hyper_params=row.hyper_params)

    def draw(self, key: str) -> None:
        """Fix the values of an execution's setting; one that is tried again keeps them."""
        if key in self._params:
            self._params[key].materialize()

    def tell(self, rows: Iterable[Row], keys: Mapping[str, str]) -> None:
        """Tell the searches of attempts that ended; what the machinery broke stays open and is tried again."""
        for row in rows:
            if isinstance(row, AttemptEnded) and row.report.outcome in _SAID_BY_THE_ALGORITHM:
                key = keys[row.report.attempt]
                if key in self._params:
                    value = row.report.values.get(self._columns[key])
                    self._params[key].tell(value, node=row.report.host)


def drawn(experiment: Experiment) -> Experiment:
    """Return the experiment with the values that were drawn for it; nothing else of the search travels."""
    if not isinstance(experiment.params, SearchedParams):
        return experiment
    return replace(experiment, params=FixedParams(experiment.params.to_dict()))


def with_objectives(metrics: Sequence[Metric], objectives: Iterable[Metric]) -> list[Metric]:
    """Return the metrics and those that searches improve, each once."""
    found = {_identity(metric): metric for metric in reversed([*metrics, *objectives])}
    added = [metric for identity, metric in found.items() if identity not in set(map(_identity, metrics))]
    return [*metrics, *reversed(added)]


def _identity(metric: Metric) -> tuple[Any, ...]:
    arguments = json.dumps(metric.arguments(), sort_keys=True, default=repr)
    return type(metric), metric.name, arguments, metric.definition_version
