"""The grid of an evaluation: algorithms x datasets x parameter settings x repetitions."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.data_types import InputDimensionality, TrainingType
from timeeval.experiment import Experiment
from timeeval.heuristics import check_heuristics
from timeeval.resource_constraints import ResourceConstraints

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.datasets.datasets import Datasets
    from timeeval.metrics import Metric

_COMBINATION = ("algorithm", "collection", "dataset", "hyper_params_id")


class Experiments:
    """All experiments of an evaluation, made when they are asked for.

    Parameters
    ----------
    dmgr : Datasets
        Knows the files of the datasets.
    datasets : sequence of Dataset
        What to evaluate on.
    algorithms : sequence of Algorithm
        What to evaluate.
    base_result_path : Path
        Results folder of the run.
    resource_constraints : ResourceConstraints, optional
        Limits of each algorithm.
    repetitions : int
        How often each combination runs.
    metrics : sequence of Metric, optional
        What to compute of the scores.
    skip_invalid_combinations : bool
        Leave out datasets that an algorithm cannot take; implied by the next three.
    force_training_type_match, force_dimensionality_match : bool
        Leave out datasets that differ in training type or dimensionality, even if the algorithm could take them.
    experiment_combinations_file : Path, optional
        CSV file with the columns ``algorithm``, ``collection``, ``dataset`` and ``hyper_params_id``; only
        combinations in it are run.

    Raises
    ------
    ValueError, TypeError
        If a parameter heuristic is written wrongly.

    Notes
    -----
    The order is: algorithm, dataset, parameter setting, repetition.
    """

    def __init__(  # noqa: PLR0917 - the signature scripts know
        self,
        dmgr: Datasets,
        datasets: Sequence[Dataset],
        algorithms: Sequence[Algorithm],
        base_result_path: Path,
        resource_constraints: ResourceConstraints | None = None,
        repetitions: int = 1,
        metrics: Sequence[Metric] | None = None,
        skip_invalid_combinations: bool = False,
        force_training_type_match: bool = False,
        force_dimensionality_match: bool = False,
        experiment_combinations_file: Path | None = None,
    ) -> None:
        self.dmgr = dmgr
        self.datasets = list(datasets)
        self.algorithms = list(algorithms)
        self.base_result_path = base_result_path
        self.resource_constraints = resource_constraints or ResourceConstraints.default_constraints()
        self.repetitions = repetitions
        self.metrics = list(metrics or [])
        self.skip_invalid_combinations = (
            skip_invalid_combinations or force_training_type_match or force_dimensionality_match
        )
        self.force_training_type_match = force_training_type_match
        self.force_dimensionality_match = force_dimensionality_match
        self.experiment_combinations_file = experiment_combinations_file
        for algorithm in self.algorithms:
            check_heuristics(algorithm)
        self._combinations: frozenset[tuple[str, ...]] | None = None
        self._length: int | None = None

    def __iter__(self) -> Iterator[Experiment]:
        """Go through the experiments, the values of parameter heuristics put in (this reads dataset files)."""
        return (experiment.with_heuristics() for experiment in self.cells())

    def __len__(self) -> int:
        """Count the experiments; reads no dataset."""
        if self._length is None:
            if self.experiment_combinations_file is None:
                self._length = self.repetitions * sum(len(algorithm.param_config) for algorithm, _ in self._pairs())
            else:
                self._length = sum(1 for _ in self.cells())
        return self._length

    def cells(self) -> Iterator[Experiment]:
        """Go through the experiments with their parameters as written, heuristics not computed yet."""
        wanted = self._wanted()
        for algorithm, dataset in self._pairs():
            test, train = self._paths(algorithm, dataset)
            for params in algorithm.param_config.iter(algorithm, dataset):
                params_id = params.uid()
                combination = (algorithm.name, dataset.collection_name, dataset.name, params_id)
                if wanted is not None and combination not in wanted:
                    continue
                for repetition in range(1, self.repetitions + 1):
                    yield Experiment(
                        dataset=dataset,
                        algorithm=algorithm,
                        params=params,
                        params_id=params_id,
                        repetition=repetition,
                        base_results_dir=self.base_result_path,
                        resource_constraints=self.resource_constraints,
                        metrics=self.metrics,
                        resolved_train_dataset_path=train,
                        resolved_test_dataset_path=test,
                    )

    def _pairs(self) -> Iterator[tuple[Algorithm, Dataset]]:
        for algorithm in self.algorithms:
            for dataset in self.datasets:
                if not self.skip_invalid_combinations or self._compatible(algorithm, dataset):
                    yield algorithm, dataset

    def _compatible(self, algorithm: Algorithm, dataset: Dataset) -> bool:
        trains = algorithm.training_type is not TrainingType.UNSUPERVISED
        if (self.force_training_type_match or trains) and algorithm.training_type is not dataset.training_type:
            return False
        if self.force_dimensionality_match:
            return algorithm.input_dimensionality is dataset.input_dimensionality
        return not (
            algorithm.input_dimensionality is InputDimensionality.UNIVARIATE
            and dataset.input_dimensionality is InputDimensionality.MULTIVARIATE
        )

    def _paths(self, algorithm: Algorithm, dataset: Dataset) -> tuple[Path, Path | None]:
        test = self.dmgr.get_dataset_path(dataset.datasetId, train=False)
        if algorithm.training_type is TrainingType.UNSUPERVISED:
            return test, None
        try:
            return test, self.dmgr.get_dataset_path(dataset.datasetId, train=True)
        except KeyError:
            return test, None

    def _wanted(self) -> frozenset[tuple[str, ...]] | None:
        if self.experiment_combinations_file is None:
            return None
        if self._combinations is None:
            with self.experiment_combinations_file.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = [column for column in _COMBINATION if column not in (reader.fieldnames or ())]
                if missing:
                    raise ValueError(
                        f"{self.experiment_combinations_file} has no column {', '.join(missing)}; a file of experiment "
                        f"combinations needs the columns {', '.join(_COMBINATION)}."
                    )
                self._combinations = frozenset(tuple(row[column] for column in _COMBINATION) for row in reader)
        return self._combinations
