"""A user's own datasets, listed in a JSON file."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timeeval.data_types import InputDimensionality, TrainingType
from timeeval.datasets.custom_base import CustomDatasetsBase
from timeeval.datasets.dataset import Dataset
from timeeval.errors import DatasetNotFoundError

TRAIN_PATH_KEY: Final = "train_path"
TEST_PATH_KEY: Final = "test_path"
TYPE_KEY: Final = "type"
PERIOD_KEY: Final = "period"

COLLECTION: Final = "custom"


@dataclass(slots=True)
class CDEntry:
    """One dataset of the file.

    Parameters
    ----------
    test_path
        Absolute path of the test file.
    train_path
        Absolute path of the training file, if there is one.
    details
        What its data says, once it was read.
    """

    test_path: Path
    train_path: Path | None
    dataset_type: str
    period: int | None
    details: Dataset | None = None


class CustomDatasets(CustomDatasetsBase):
    """The datasets of one JSON file; their collection is called "custom".

    Parameters
    ----------
    dataset_config
        File with one object: dataset name to an object with ``test_path``, and optionally ``train_path``, ``type`` and
        ``period`` (time steps). Paths may be relative to the file.

    Raises
    ------
    ValueError
        If an entry has no test file, or one of its files does not exist.

    Notes
    -----
    The data is read when somebody asks for a dataset's description, once.
    """

    def __init__(self, dataset_config: str | Path) -> None:
        config = Path(dataset_config)
        with config.open("r") as file:
            try:
                entries = json.load(file)
            except json.JSONDecodeError as error:
                msg = f"{config}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})"
                raise ValueError(msg) from None
        if not isinstance(entries, dict):
            msg = f"{config}: custom datasets are one object (name to properties), not {type(entries).__name__}"
            raise ValueError(msg)
        self._entries = {name: _entry(name, properties, config.parent) for name, properties in entries.items()}

    def __repr__(self) -> str:
        return f"CustomDatasets({', '.join(self._entries)})"

    def get_collection_names(self) -> list[str]:
        """Return the one collection."""
        return [COLLECTION]

    def get_dataset_names(self) -> list[str]:
        """Return the names in the order of the file."""
        return list(self._entries)

    def get_path(self, dataset_name: str, train: bool) -> Path:
        """Return the absolute path of a dataset's file.

        Raises
        ------
        KeyError
            If the dataset is unknown.
        ValueError
            If it has no training file.
        """
        entry = self._entry(dataset_name)
        if not train:
            return entry.test_path
        if entry.train_path is None:
            msg = f"The custom dataset {dataset_name!r} is unsupervised and has no training time series."
            raise ValueError(msg)
        return entry.train_path

    def get(self, dataset_name: str) -> Dataset:
        """Return the description of a dataset; its data is read for it the first time.

        Raises
        ------
        KeyError
            If the dataset is unknown.
        """
        entry = self._entry(dataset_name)
        if entry.details is None:
            entry.details = _analyze(dataset_name, entry)
        return entry.details

    def select(  # noqa: PLR0917 - the signature scripts know
        self,
        collection: str | None = None,
        dataset: str | None = None,
        dataset_type: str | None = None,
        datetime_index: bool | None = None,
        training_type: TrainingType | None = None,
        train_is_normal: bool | None = None,  # noqa: ARG002 - not known of custom datasets
        input_dimensionality: InputDimensionality | None = None,
        min_anomalies: int | None = None,
        max_anomalies: int | None = None,
        max_contamination: float | None = None,
    ) -> list[tuple[str, str]]:
        """Return the datasets that meet all conditions; see :meth:`timeeval.datasets.Datasets.select`."""
        if collection is not None and collection != COLLECTION:
            return []
        if datetime_index is not None:
            warnings.warn("Filter for index type (datetime or int) is not supported for custom datasets!", stacklevel=2)
        chosen = []
        for name in self._entries:
            if dataset is not None and name != dataset:
                continue
            details = self.get(name)
            anomalies = details.num_anomalies or 0
            conditions = (
                dataset_type is None or details.dataset_type == dataset_type,
                training_type is None or details.training_type == training_type,
                input_dimensionality is None or details.input_dimensionality == input_dimensionality,
                min_anomalies is None or anomalies >= min_anomalies,
                max_anomalies is None or anomalies <= max_anomalies,
                max_contamination is None or details.contamination <= max_contamination,
            )
            if all(conditions):
                chosen.append((COLLECTION, name))
        return chosen

    def _entry(self, dataset_name: str) -> CDEntry:
        try:
            return self._entries[dataset_name]
        except KeyError:
            msg = f"The custom dataset {dataset_name!r} is not known; known are {', '.join(self._entries) or 'none'}"
            raise DatasetNotFoundError(msg) from None


def _entry(name: str, properties: Any, folder: Path) -> CDEntry:  # noqa: ANN401
    if not isinstance(properties, dict) or TEST_PATH_KEY not in properties:
        msg = f"The custom dataset {name!r} misses the required 'test_path' property."
        raise ValueError(msg)
    return CDEntry(
        test_path=_existing(name, properties[TEST_PATH_KEY], folder, TEST_PATH_KEY),
        train_path=_existing(name, properties[TRAIN_PATH_KEY], folder, TRAIN_PATH_KEY)
        if properties.get(TRAIN_PATH_KEY)
        else None,
        dataset_type=properties.get(TYPE_KEY, "unknown"),
        period=properties.get(PERIOD_KEY),
    )


def _existing(name: str, text: str, folder: Path, key: str) -> Path:
    path = (folder / text).resolve()
    if not path.exists():
        msg = f"The file {path} of the custom dataset {name!r} was not found (property '{key}')."
        raise ValueError(msg)
    return path


def _analyze(name: str, entry: CDEntry) -> Dataset:
    from timeeval.datasets.analyzer import DatasetAnalyzer

    print(f"Custom dataset {name}: reading {entry.test_path} for its characteristics.")
    analyzer = DatasetAnalyzer(
        (COLLECTION, name),
        is_train=False,
        dataset_path=entry.test_path,
        ignore_stationarity=True,
        ignore_trend=True,
    )
    metadata = analyzer.metadata
    return Dataset(
        datasetId=(COLLECTION, name),
        dataset_type=entry.dataset_type,
        training_type=_training_type(entry),
        length=metadata.length,
        dimensions=metadata.dimensions,
        contamination=metadata.contamination,
        min_anomaly_length=metadata.anomaly_length.min,
        median_anomaly_length=metadata.anomaly_length.median,
        max_anomaly_length=metadata.anomaly_length.max,
        num_anomalies=metadata.num_anomalies,
        period_size=entry.period,
    )


def _training_type(entry: CDEntry) -> TrainingType:
    if entry.train_path is None:
        return TrainingType.UNSUPERVISED
    from timeeval.utils.datasets import extract_labels, load_dataset

    labels = extract_labels(load_dataset(entry.train_path))
    return TrainingType.SUPERVISED if labels.any() else TrainingType.SEMI_SUPERVISED
