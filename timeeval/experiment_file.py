"""experiment.toml: a benchmark without a line of Python.

A file looks like this; everything but ``datasets`` and one ``[[algorithm]]`` may be left out::

    [experiment]
    datasets = "/srv/timeeval/data/nab"      # folder with a datasets.csv, or a list of such folders
    repetitions = 2
    metrics = ["ROC_AUC", "RANGE_PR_AUC"]    # names of DefaultMetrics, or "module:object"
    results = "results"
    distributed = true

    [[select]]                               # conditions of Datasets.select; several tables: any of them
    collection = "NAB-realTraffic"
    input_dimensionality = "univariate"

    [[algorithm]]
    name = "RollingMedian"
    function = "my_algorithms:rolling_median"   # or image = "name:tag", or object = "module:algorithm"
    dimensionality = "multivariate"
    training = "unsupervised"
    parameters = { window_size = [25, 101] }    # lists are tried value by value, in all combinations

    [limits]
    train = "1 hour"
    execute = "30 minutes"
    memory = 2147483648                      # bytes, containers only
    cpus = 1.0                               # containers only
    tasks_per_host = 1                       # containers only
"""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from timeeval.data_types import InputDimensionality, TrainingType
from timeeval.durations import Duration
from timeeval.errors import TimeEvalError
from timeeval.resource_constraints import ResourceConstraints

if TYPE_CHECKING:
    from timeeval.adapters.base import Adapter
    from timeeval.algorithm import Algorithm
    from timeeval.datasets.datasets import Datasets
    from timeeval.metrics import Metric
    from timeeval.timeeval import TimeEval


class ExperimentFileError(TimeEvalError, ValueError):
    """An experiment file cannot be read; names the file, the key and what is allowed."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Experiment(_Model):
    datasets: str | list[str]
    repetitions: int = Field(1, ge=1)
    metrics: list[str] = ["ROC_AUC"]
    results: str = "results"
    distributed: bool = True


class _Select(_Model):
    collection: str | None = None
    dataset: str | None = None
    dataset_type: str | None = None
    datetime_index: bool | None = None
    training_type: TrainingType | None = None
    train_is_normal: bool | None = None
    input_dimensionality: InputDimensionality | None = None
    min_anomalies: int | None = None
    max_anomalies: int | None = None
    max_contamination: float | None = None


class _Algorithm(_Model):
    name: str | None = None
    function: str | None = None
    image: str | None = None
    object: str | None = None
    postprocess: str | None = None
    data_as_file: bool | None = None
    dimensionality: InputDimensionality = InputDimensionality.UNIVARIATE
    training: TrainingType = TrainingType.UNSUPERVISED
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> _Algorithm:
        if sum(kind is not None for kind in (self.function, self.image, self.object)) != 1:
            raise ValueError("give exactly one of function, image and object")
        if self.object is None and self.name is None:
            raise ValueError("give it a name")
        return self


class _Limits(_Model):
    train: str = "8 hours"
    execute: str = "8 hours"
    memory: int | None = Field(None, gt=0)
    cpus: float | None = Field(None, gt=0)
    tasks_per_host: int = Field(1, ge=1)


class _File(_Model):
    experiment: _Experiment
    select: list[_Select] = []
    algorithm: list[_Algorithm] = Field(min_length=1)
    limits: _Limits = _Limits.model_validate({})


def read(path: Path) -> TimeEval:
    """Make a `TimeEval` of an experiment file.

    Parameters
    ----------
    path : Path
        The file. Modules that it names are imported; relative folders are relative to it.

    Raises
    ------
    ExperimentFileError
        If the file is not as described above, or names what cannot be imported.
    """
    try:
        with path.open("rb") as file:
            document = _File.model_validate(tomllib.load(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ExperimentFileError("\n".join(f"{path}: {_key(e['loc'])}: {e['msg']}" for e in error.errors())) from error
    from timeeval.timeeval import TimeEval

    base = path.resolve().parent
    datasets = _datasets(document.experiment.datasets, base)
    return TimeEval(
        datasets,
        _selected(datasets, document.select),
        [_algorithm(algorithm) for algorithm in document.algorithm],
        results_path=base / document.experiment.results,
        repetitions=document.experiment.repetitions,
        distributed=document.experiment.distributed,
        resource_constraints=_limits(document.limits, path),
        metrics=[_metric(name) for name in document.experiment.metrics],
    )


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _datasets(folders: str | list[str], base: Path) -> Datasets:
    from timeeval.datasets.dataset_manager import DatasetManager
    from timeeval.datasets.multi_dataset_manager import MultiDatasetManager

    if isinstance(folders, str):
        return DatasetManager(base / folders, create_if_missing=False)
    return MultiDatasetManager([base / folder for folder in folders])


def _selected(datasets: Datasets, conditions: list[_Select]) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for condition in conditions or [_Select()]:
        found.update(dict.fromkeys(datasets.select(**dict(condition))))
    return list(found)


def _algorithm(description: _Algorithm) -> Algorithm:
    from timeeval.adapters import DockerAdapter, FunctionAdapter
    from timeeval.algorithm import Algorithm
    from timeeval.params import FullParameterGrid

    values = {k: v if isinstance(v, list) else [v] for k, v in description.parameters.items()}
    if description.object is not None:
        made = _imported(description.object)
        algorithm = made() if callable(made) else made
        if not isinstance(algorithm, Algorithm):
            raise ExperimentFileError(f"{description.object} is no Algorithm and returns none, but {algorithm!r}")
        if values:
            algorithm.param_config = FullParameterGrid(values)
        return algorithm
    main: Adapter
    if description.image is not None:
        image, _, tag = description.image.rpartition(":")
        main = DockerAdapter(image, tag=tag) if image and "/" not in tag else DockerAdapter(description.image)
    else:
        main = FunctionAdapter(_imported(str(description.function)))
    in_file = description.image is not None if description.data_as_file is None else description.data_as_file
    return Algorithm(
        name=str(description.name),
        main=main,
        postprocess=None if description.postprocess is None else _imported(description.postprocess),
        data_as_file=in_file,
        param_config=FullParameterGrid(values),
        training_type=description.training,
        input_dimensionality=description.dimensionality,
    )


def _limits(limits: _Limits, path: Path) -> ResourceConstraints:
    try:
        train, execute = Duration(limits.train), Duration(limits.execute)
    except ValueError as error:
        raise ExperimentFileError(f"{path}: limits: {error}") from error
    return ResourceConstraints(limits.tasks_per_host, limits.memory, limits.cpus, train, execute)


def _metric(name: str) -> Metric:
    from timeeval.metrics import DefaultMetrics, Metric

    found = _imported(name) if ":" in name else getattr(DefaultMetrics, name, None)
    metric = found() if isinstance(found, type) else found
    if not isinstance(metric, Metric):
        known = ", ".join(key for key, value in vars(DefaultMetrics).items() if isinstance(value, Metric))
        raise ExperimentFileError(f"metric {name!r} is unknown", remedy=f"Use one of {known}, or module:object")
    return metric


def _imported(reference: str) -> Any:  # noqa: ANN401 - whatever it names
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ExperimentFileError(
            f"{reference!r} cannot be imported: {error}",
            remedy="Write module:name; modules beside the experiment file are found",
        ) from error
