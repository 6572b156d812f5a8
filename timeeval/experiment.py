"""One experiment: an algorithm with one parameter setting on one dataset, from data to scores to metrics."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.constants import ANOMALY_SCORES_TS, EXECUTION_LOG, HYPER_PARAMETERS, METRICS_CSV, RAW_ANOMALY_SCORES_TS
from timeeval.data_types import AlgorithmParameter, InputDimensionality, TrainingType
from timeeval.errors import ScoresError
from timeeval.fresh import write_fresh
from timeeval.series import features_of, labels_of, whole_of, write_scores
from timeeval.times import Times
from timeeval.utils.encode_params import dumps_params
from timeeval.utils.results_path import generate_experiment_path

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.dataset import Dataset
    from timeeval.metrics import Metric
    from timeeval.params.params import Params
    from timeeval.resource_constraints import ResourceConstraints

Array = np.ndarray[Any, Any]
OnPhase = Callable[[str, Mapping[str, float]], None]
"""Called with the name of the phase that begins (train, execute, score) and the values there are so far."""


def _silent(_phase: str, _values: Mapping[str, float]) -> None:
    pass


@dataclass
class Experiment:
    """An algorithm with one parameter setting on one dataset, for the n-th time.

    Attributes
    ----------
    params_id : str
        Identity of the setting as it was written down, before heuristics put in values.
    repetition : int
        Counts from 1.
    base_results_dir : Path
        Results folder of the run.
    resolved_train_dataset_path : Path, optional
        Training file on the machine that runs the experiment; None if the algorithm does not train or there is none.
    work_dir : Path, optional
        Where the files are written instead of `results_path`'s usual place.
    """

    dataset: Dataset
    algorithm: Algorithm
    params: Params
    params_id: str
    repetition: int
    base_results_dir: Path
    resource_constraints: ResourceConstraints
    metrics: list[Metric]
    resolved_train_dataset_path: Path | None
    resolved_test_dataset_path: Path
    work_dir: Path | None = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """Algorithm, collection, dataset, parameter id and repetition, joined by hyphens; unique in a run."""
        return "-".join(
            (self.algorithm.name, self.dataset_collection, self.dataset_name, self.params_id, str(self.repetition))
        )

    @property
    def dataset_collection(self) -> str:
        """Collection of the dataset."""
        return self.dataset.collection_name

    @property
    def dataset_name(self) -> str:
        """Name of the dataset within its collection."""
        return self.dataset.name

    @property
    def results_path(self) -> Path:
        """Folder of this experiment's files."""
        return self.work_dir or generate_experiment_path(
            self.base_results_dir,
            self.algorithm.name,
            self.params_id,
            self.dataset_collection,
            self.dataset_name,
            self.repetition,
        )

    def build_args(self) -> dict[str, Any]:
        """Return what the algorithm's adapter gets beside the data."""
        return {
            "results_path": self.results_path,
            "resource_constraints": self.resource_constraints,
            "hyper_params": self.params.to_dict(),
            "dataset_details": self.dataset,
        }

    @staticmethod
    def scale_scores(y_true: Array, y_scores: Array) -> tuple[Array, Array]:
        """Scale the finite scores to [0, 1].

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels.
        y_scores : ndarray of shape (n,)
            Scores; NaN and infinite entries stay as they are.

        Returns
        -------
        y_true : ndarray of shape (n,), int64
        y_scores : ndarray of shape (n,), float64
            A copy; equal finite scores become 0.
        """
        labels = np.asarray(y_true).astype(np.int64)
        scores = np.array(y_scores, dtype=np.float64)
        finite = np.isfinite(scores)
        values = scores[finite]
        if len(values):
            low, high = values.min(), values.max()
            scores[finite] = (values - low) / (high - low) if high > low else 0.0
        return labels, scores

    def check_compatible(self) -> None:
        """Refuse a dataset that the algorithm cannot take.

        Raises
        ------
        KeyError
            If the algorithm has to train and the dataset has no training file.
        ValueError
            If training type or input dimensionality do not fit.
        """
        algorithm, dataset = self.algorithm, self.dataset
        if algorithm.training_type is not TrainingType.UNSUPERVISED:
            if self.resolved_train_dataset_path is None:
                raise KeyError(
                    f"Path to training dataset not found! {algorithm.name} is {algorithm.training_type.value}, "
                    f"{self.dataset_collection}/{self.dataset_name} has no training file."
                )
            if algorithm.training_type is not dataset.training_type:
                raise ValueError(
                    f"Dataset training type ({dataset.training_type.value}) incompatible to algorithm training type "
                    f"({algorithm.training_type.value})!"
                )
        if (
            algorithm.input_dimensionality is InputDimensionality.UNIVARIATE
            and dataset.input_dimensionality is InputDimensionality.MULTIVARIATE
        ):
            raise ValueError(
                f"Dataset input dimensionality ({dataset.input_dimensionality.value}) incompatible to algorithm input "
                f"dimensionality ({algorithm.input_dimensionality.value})!"
            )

    def with_heuristics(self) -> Experiment:
        """Return the experiment with the values of its parameter heuristics, computed from the dataset's file."""
        from timeeval.heuristics import inject_heuristic_values

        injected = inject_heuristic_values(self.params, self.algorithm, self.dataset, self.resolved_test_dataset_path)
        return replace(self, params=injected)

    def evaluate(
        self,
        *,
        extra_args: Mapping[str, Any] | None = None,
        on_phase: OnPhase = _silent,
        result: dict[str, Any] | None = None,
        logged: bool = False,
    ) -> dict[str, Any]:
        """Train and run the algorithm, compute the metrics and write all files of the experiment.

        Parameters
        ----------
        extra_args
            More arguments for the adapter.
        on_phase
            Told when a phase begins.
        result
            Filled while the evaluation goes on, so that what is known survives an exception.
        logged
            What is printed goes to the experiment's log already.

        Returns
        -------
        dict
            Times in seconds and metric values by column name, and ``hyper_params`` as JSON text.

        Raises
        ------
        Exception
            What the algorithm raised; or, when no metric could be computed, what the last one raised.
        """
        found = {} if result is None else result
        path = self.results_path
        path.mkdir(parents=True, exist_ok=True)
        params = self.params = self.params.materialize()
        hyper_params = dumps_params(params)
        write_fresh(f"{path}/{HYPER_PARAMETERS}", hyper_params.encode())
        with contextlib.nullcontext() if logged else _to_log(path / EXECUTION_LOG):
            print(f"Starting evaluation of experiment {self.name}\n{'=' * 45}\n")
            try:
                self._evaluate({**self.build_args(), **(extra_args or {})}, on_phase, found)
            except BaseException:
                params.fail()
                raise
        found["hyper_params"] = hyper_params
        return found

    def _evaluate(self, args: dict[str, Any], on_phase: OnPhase, result: dict[str, Any]) -> None:
        path = self.results_path
        if self.algorithm.training_type is not TrainingType.UNSUPERVISED:
            on_phase("train", result)
            result.update(self._perform_training(args))
        on_phase("execute", result)
        y_scores, times = self._perform_execution(args)
        result.update(times)
        self._check(y_scores)
        on_phase("score", result)
        write_metrics(f"{path}/{METRICS_CSV}", result)
        write_scores(f"{path}/{RAW_ANOMALY_SCORES_TS}", y_scores)
        y_true, y_scores = self.scale_scores(self._labels(len(y_scores)), y_scores)
        write_scores(f"{path}/{ANOMALY_SCORES_TS}", y_scores)
        last_error = self._score(y_true, y_scores, result)
        write_metrics(f"{path}/{METRICS_CSV}", result)
        self.params.assess(y_true, y_scores)
        if last_error is not None:
            raise last_error

    def _perform_training(self, args: dict[str, Any] | None = None) -> dict[str, float]:
        if self.algorithm.training_type is TrainingType.UNSUPERVISED:
            return {}
        if self.resolved_train_dataset_path is None:
            raise ValueError(
                f"No training dataset was provided for {self.dataset_collection}/{self.dataset_name}, but "
                f"{self.algorithm.name} must be trained."
            )
        print(f"Performing training for {self.algorithm.training_type.name} algorithm {self.algorithm.name}")
        data = _input(self.algorithm, self.resolved_train_dataset_path, features_only=False)
        return _seconds(Times.from_train_algorithm(self.algorithm, data, self.build_args() if args is None else args))

    def _perform_execution(self, args: dict[str, Any] | None = None) -> tuple[Array, dict[str, float]]:
        print(f"Performing execution for {self.algorithm.training_type.name} algorithm {self.algorithm.name}")
        data = _input(self.algorithm, self.resolved_test_dataset_path, features_only=True)
        scores, times = Times.from_execute_algorithm(self.algorithm, data, self.build_args() if args is None else args)
        return np.asarray(scores), _seconds(times)

    def _check(self, y_scores: Array) -> None:
        if y_scores.ndim == 0 or y_scores.dtype.kind not in "fiubO":
            raise ScoresError(
                f"{self.algorithm.name} returned no array of scores but {str(y_scores)[:80]!r}",
                remedy="Let the algorithm, or its post-processing, return an array with one number per point.",
            )
        if y_scores.dtype.kind == "f" and len(y_scores) and np.isnan(y_scores).all():
            raise ScoresError(
                f"{self.algorithm.name} returned {len(y_scores)} scores, and all of them are NaN",
                remedy="Check the parameters (e.g. a window longer than the series) and the data.",
            )

    def _labels(self, n_scores: int) -> Array:
        labels = labels_of(self.resolved_test_dataset_path)
        if len(labels) != n_scores:
            raise ScoresError(
                f"{self.algorithm.name} returned {n_scores} scores for {len(labels)} points of "
                f"{self.dataset_collection}/{self.dataset_name}",
                remedy="Let the algorithm, or its post-processing, return one score per point.",
            )
        return labels

    def _score(self, y_true: Array, y_scores: Array, result: dict[str, Any]) -> Exception | None:
        """Compute the metrics; return the error to raise when none of them has a value."""
        from timeeval.metrics.scoring import column_names

        named = dict(zip(column_names(self.metrics), self.metrics, strict=True))
        print(f"Scoring algorithm {self.algorithm.name} with {','.join(named)} metrics")
        values, errors = compute_metrics(named, y_true, y_scores)
        result.update(values)
        telling = [error for error in errors if str(error)]
        return telling[-1] if telling and not values else None


def _seconds(times: Times) -> dict[str, float]:
    return {column: math.nan if took is None else took for column, took in times.to_dict().items()}


def compute_metrics(
    metrics: Mapping[str, Metric], y_true: Array, y_scores: Array
) -> tuple[dict[str, float], list[Exception]]:
    """Compute metrics of one result and print what becomes of each.

    Parameters
    ----------
    metrics : mapping of str to Metric
        By column name.
    y_true : ndarray of shape (n,), int64
        Labels.
    y_scores : ndarray of shape (n,), float64
        Scaled scores.

    Returns
    -------
    values : dict
        By column name, NaN where undefined; those that failed are left out.
    errors : list of Exception
        What the others raised.
    """
    from timeeval.metrics.scoring import score_each

    values: dict[str, float] = {}
    errors: list[Exception] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcomes = score_each(list(metrics.values()), y_true, y_scores)
    for name, value in zip(metrics, outcomes, strict=True):
        print(f"Calculating {name}")
        number = _number(value)
        if isinstance(number, Exception):
            errors.append(number)
            print(f"  failed: {number!r}")
        else:
            values[name] = number
            print(f"  = {number}")
    for warning in caught:
        print(f"  warning: {warning.message}")
    return values, errors


def _number(value: Any) -> float | Exception:  # noqa: ANN401 - what a user's metric returned
    if isinstance(value, Exception):
        return value
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        return error


def _input(algorithm: Algorithm, path: Path, *, features_only: bool) -> AlgorithmParameter:
    if algorithm.data_as_file:
        return path
    return features_of(path) if features_only else whole_of(path)


@contextlib.contextmanager
def _to_log(path: Path) -> Iterator[None]:
    log = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    with log, contextlib.redirect_stdout(log):
        yield


def write_metrics(path: str | Path, values: Mapping[str, float]) -> None:
    """Write one row as pandas would: shortest exact numbers, nothing for NaN."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(values)
    writer.writerow("" if math.isnan(value) else repr(float(value)) for value in values.values())
    write_fresh(path, text.getvalue().encode())


def json_values(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of a result that a report carries: all but the parameters, NaN as None."""
    numbers = {name: float(value) for name, value in result.items() if name != "hyper_params"}
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def params_text(experiment: Experiment) -> str | None:
    """Return the parameters as JSON text, None when they are not known before they are drawn."""
    try:
        return dumps_params(experiment.params)
    except (ValueError, TypeError):
        return None
