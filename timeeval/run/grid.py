"""The grid of a run, small enough to hold: experiments are made of it when they are sent."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from timeeval.params.params import FixedParams, SearchedParams
from timeeval.run.views import details_of

if TYPE_CHECKING:
    from timeeval.experiment import Experiment
    from timeeval.params.params import Params
    from timeeval.run.model import Execution


class Grid:
    """All cells of a run in order, each with its execution and what its result row says of it.

    What cells have in common is kept once: the algorithm and the dataset of a pair, the settings of an algorithm.

    Parameters
    ----------
    experiments : iterable of Experiment
        Gone through once.
    execution_of : callable
        Identifies an experiment.
    """

    def __init__(self, experiments: Iterable[Experiment], execution_of: Callable[[Experiment], Execution]) -> None:
        self._executions: list[Execution] = []
        self._settings: list[Params] = []
        self._pairs: list[Experiment] = []
        self._details: list[Mapping[str, Any]] = []
        self._pair_of = array("L")
        self._positions: dict[str, int] = {}
        settings: dict[tuple[int, str], Params] = {}
        pairs: dict[tuple[int, int], int] = {}
        for experiment in experiments:
            execution = execution_of(experiment)
            pair = pairs.setdefault((id(experiment.algorithm), id(experiment.dataset)), len(self._pairs))
            if pair == len(self._pairs):
                self._pairs.append(experiment)  # which keeps algorithm and dataset, and so their ids
                self._details.append(details_of(experiment))
            self._positions.setdefault(execution.key, len(self._executions))
            self._executions.append(execution)
            self._settings.append(_shared(settings, experiment))
            self._pair_of.append(pair)

    def __len__(self) -> int:
        return len(self._executions)

    def __iter__(self) -> Iterator[tuple[Execution, Mapping[str, Any]]]:
        for execution, pair in zip(self._executions, self._pair_of, strict=True):
            yield execution, self._details[pair]

    def experiment(self, key: str) -> Experiment:
        """Make the experiment of an execution."""
        position = self._positions[key]
        cell = self._executions[position].cell
        return replace(
            self._pairs[self._pair_of[position]],
            params=self._settings[position],
            params_id=cell.hyper_params_id,
            repetition=cell.repetition,
        )

    def searched(self) -> dict[str, Experiment]:
        """Return the experiments whose setting is searched, by key."""
        return {
            key: self.experiment(key)
            for key, position in self._positions.items()
            if isinstance(self._settings[position], SearchedParams)
        }


def _shared(settings: dict[tuple[int, str], Params], experiment: Experiment) -> Params:
    """Return the same object for equal settings of an algorithm, whatever dataset they were made for."""
    params = experiment.params
    if not isinstance(params, FixedParams):
        return params
    known = settings.setdefault((id(experiment.algorithm), experiment.params_id), params)
    return known if type(known) is type(params) and known == params else params
