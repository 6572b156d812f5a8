"""Finding datasets: by name, by what they are, with their paths and their data."""

import abc
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from timeeval.data_types import InputDimensionality, TrainingType
from timeeval.datasets.custom import COLLECTION, CustomDatasets
from timeeval.datasets.custom_noop import NoOpCustomDatasets
from timeeval.datasets.dataset import Dataset
from timeeval.datasets.index import KEYS, join_frames
from timeeval.datasets.locations import readable
from timeeval.datasets.metadata import DatasetId, DatasetMetadata
from timeeval.errors import DatasetNotFoundError
from timeeval.utils.datasets import read_series

if TYPE_CHECKING:
    from timeeval.datasets.custom_base import CustomDatasetsBase


class Datasets(abc.ABC):
    """Benchmark datasets, listed in an index, and a user's own ones.

    Parameters
    ----------
    df
        Indexed by collection and dataset name, one row per dataset; see :mod:`timeeval.datasets.index`.
    custom_datasets_file
        JSON file with own datasets, see :class:`timeeval.datasets.custom.CustomDatasets`.
    """

    INDEX_FILENAME = "datasets.csv"
    METADATA_FILENAME_SUFFIX = "metadata.json"

    def __init__(self, df: pd.DataFrame, custom_datasets_file: str | Path | None = None) -> None:
        self._df = df
        self._rows_of: pd.DataFrame | None = None
        self._rows: dict[DatasetId, dict[str, Any]] = {}
        self._custom_datasets: CustomDatasetsBase = NoOpCustomDatasets()
        if custom_datasets_file is not None:
            self.load_custom_datasets(custom_datasets_file)

    @property
    @abc.abstractmethod
    def _log(self) -> logging.Logger:
        """Where messages go."""

    @abc.abstractmethod
    def _get_dataset_path_internal(self, dataset_id: DatasetId, train: bool = False) -> Path:
        """Absolute path of a benchmark dataset's file; ``KeyError`` if there is none."""

    @abc.abstractmethod
    def refresh(self, force: bool = False) -> None:
        """Read the index again."""

    def __repr__(self) -> str:
        return f"{self._df!r}\nCustom datasets:\n{self._custom_datasets!r}"

    def __str__(self) -> str:
        return f"{self._df}\nCustom datasets:\n{self._custom_datasets}"

    def load_custom_datasets(self, file_path: str | Path) -> None:
        """Load a user's own datasets; those that were loaded before are forgotten."""
        self._custom_datasets = CustomDatasets(file_path)

    def get_collection_names(self) -> list[str]:
        """Return the names of all collections, custom ones first."""
        return [*self._custom_datasets.get_collection_names(), *dict.fromkeys(c for c, _ in self._records())]

    def get_dataset_names(self) -> list[str]:
        """Return the names of all datasets, custom ones first; a name that two collections have appears once."""
        return [*self._custom_datasets.get_dataset_names(), *dict.fromkeys(name for _, name in self._records())]

    def select(  # noqa: PLR0917 - the signature scripts know
        self,
        collection: str | None = None,
        dataset: str | None = None,
        dataset_type: str | None = None,
        datetime_index: bool | None = None,
        training_type: TrainingType | None = None,
        train_is_normal: bool | None = None,
        input_dimensionality: InputDimensionality | None = None,
        min_anomalies: int | None = None,
        max_anomalies: int | None = None,
        max_contamination: float | None = None,
    ) -> list[DatasetId]:
        """Find the datasets that meet all conditions.

        Parameters
        ----------
        collection, dataset
            Names. A custom name finds custom datasets only.
        dataset_type
            Type as in the index.
        datetime_index
            Whether time steps are dates. Not known of custom datasets: the condition is ignored, with a warning.
        training_type
            What the dataset offers to learn from.
        train_is_normal
            Whether the training series is free of anomalies. Ignored for custom datasets.
        input_dimensionality
            Univariate or multivariate.
        min_anomalies, max_anomalies
            Bounds of the number of anomalies, inclusive.
        max_contamination
            Largest share of anomalous time steps, inclusive.

        Returns
        -------
        list[tuple[str, str]]
            Collection and name of each, benchmark datasets in sorted order before custom ones.
        """
        own = self._custom_datasets.select(
            collection,
            dataset,
            dataset_type,
            datetime_index,
            training_type,
            train_is_normal,
            input_dimensionality,
            min_anomalies,
            max_anomalies,
            max_contamination,
        )
        if (collection is not None and collection in self._custom_datasets.get_collection_names()) or (
            dataset is not None and dataset in self._custom_datasets.get_dataset_names()
        ):
            return own
        equal = {
            "dataset_type": dataset_type,
            "datetime_index": datetime_index,
            "train_type": training_type.value if training_type is not None else None,
            "train_is_normal": train_is_normal,
            "input_type": input_dimensionality.value if input_dimensionality is not None else None,
        }
        wanted = [(column, value) for column, value in equal.items() if value is not None]
        found = [
            identity
            for identity, row in self._records().items()
            if (collection is None or identity[0] == collection)
            and (dataset is None or identity[1] == dataset)
            and all(row[column] == value for column, value in wanted)
            and (min_anomalies is None or row["num_anomalies"] >= min_anomalies)
            and (max_anomalies is None or row["num_anomalies"] <= max_anomalies)
            and (max_contamination is None or row["contamination"] <= max_contamination)
        ]
        return found + own

    def df(self) -> pd.DataFrame:
        """Return all datasets as a frame, custom ones included, sorted by collection and name."""
        own = [self._custom_row(name) for name in self._custom_datasets.get_dataset_names()]
        if not own:
            return self._df.copy()
        return join_frames([self._df, pd.DataFrame(own).set_index(list(KEYS))])

    def _custom_row(self, name: str) -> dict[str, Any]:
        details = self._custom_datasets.get(name)
        trains = details.training_type is not TrainingType.UNSUPERVISED
        return {
            "collection_name": COLLECTION,
            "dataset_name": name,
            "train_path": str(self._custom_datasets.get_path(name, train=True)) if trains else math.nan,
            "test_path": str(self._custom_datasets.get_path(name, train=False)),
            "dataset_type": details.dataset_type,
            "train_type": details.training_type.value,
            "input_type": details.input_dimensionality.value,
            "length": details.length,
            "dimensions": details.dimensions,
            "contamination": details.contamination,
            "num_anomalies": details.num_anomalies,
            "min_anomaly_length": details.min_anomaly_length,
            "median_anomaly_length": details.median_anomaly_length,
            "max_anomaly_length": details.max_anomaly_length,
            "period_size": details.period_size,
        }

    def get(self, collection_name: str | DatasetId, dataset_name: str | None = None) -> Dataset:
        """Describe a dataset.

        Parameters
        ----------
        collection_name
            Name of the collection, or both names as a tuple.
        dataset_name
            Name of the dataset, if the first argument is not a tuple.

        Raises
        ------
        KeyError
            If it is unknown.
        ValueError
            If the arguments are neither two names nor one tuple.
        """
        identity = _identity(collection_name, dataset_name)
        if identity[0] in self._custom_datasets.get_collection_names():
            return self._custom_datasets.get(identity[1])
        row = self._row(identity)
        period = row["period_size"]
        anomalies = row["num_anomalies"]
        return Dataset(
            datasetId=identity,
            dataset_type=row["dataset_type"],
            training_type=self._training_type_of(identity, row),
            length=row["length"],
            dimensions=row["dimensions"],
            contamination=row["contamination"],
            min_anomaly_length=row["min_anomaly_length"],
            median_anomaly_length=row["median_anomaly_length"],
            max_anomaly_length=row["max_anomaly_length"],
            period_size=None if _missing(period) else int(period) if float(period).is_integer() else period,
            num_anomalies=None if _missing(anomalies) else int(anomalies),
        )

    def get_training_type(self, dataset_id: DatasetId) -> TrainingType:
        """Return what a dataset offers to learn from.

        A dataset that claims to be semi-supervised although its training series is not normal is supervised.
        """
        if dataset_id[0] in self._custom_datasets.get_collection_names():
            return self._custom_datasets.get(dataset_id[1]).training_type
        return self._training_type_of(dataset_id, self._row(dataset_id))

    def _training_type_of(self, dataset_id: DatasetId, row: dict[str, Any]) -> TrainingType:
        text = row["train_type"]
        training_type = TrainingType.from_text(text) if isinstance(text, str) else TrainingType.UNSUPERVISED
        if training_type is TrainingType.SEMI_SUPERVISED and row["train_is_normal"] is False:
            self._log.warning(
                "The training series of %s is not normal, so it is supervised, not semi-supervised as its index says.",
                dataset_id,
            )
            return TrainingType.SUPERVISED
        return training_type

    def get_dataset_path(self, dataset_id: DatasetId, train: bool = False) -> Path:
        """Return the absolute path of a dataset's file.

        Parameters
        ----------
        dataset_id
            Collection and name.
        train
            The training file instead of the test file.

        Raises
        ------
        KeyError
            If the dataset is unknown or has no such file.
        ValueError
            If it is a custom dataset without training file.

        Notes
        -----
        Under a cluster's session this is the path on the nodes, even if this machine keeps the file elsewhere.
        """
        collection, name = dataset_id
        if collection in self._custom_datasets.get_collection_names():
            return self._custom_datasets.get_path(name, train)
        return self._get_dataset_path_internal((collection, name), train)

    def get_dataset_df(self, dataset_id: DatasetId, train: bool = False) -> pd.DataFrame:
        """Read a dataset.

        Parameters
        ----------
        dataset_id
            Collection and name.
        train
            Take the training instead of the test series.

        Returns
        -------
        pandas.DataFrame
            Time steps first (datetime64[ns] or int64), the channels, the labels last.

        Raises
        ------
        KeyError
            If the dataset is unknown or has no such file.
        TypeError
            If the time steps of a custom dataset are neither dates nor whole numbers.
        """
        path = readable(self.get_dataset_path(dataset_id, train))
        if dataset_id[0] in self._custom_datasets.get_collection_names():
            return read_series(path)
        dates = self._row((dataset_id[0], dataset_id[1]))["datetime_index"]
        return read_series(path, dates=None if _missing(dates) else bool(dates))

    def get_dataset_ndarray(self, dataset_id: DatasetId, train: bool = False) -> np.ndarray[Any, Any]:
        """Read a dataset as an array.

        Parameters
        ----------
        dataset_id
            Collection and name.
        train
            Take the training instead of the test series.

        Returns
        -------
        ndarray of shape (n, channels + 2)
            Time steps, channels, labels; of dtype object where the time steps are dates.
        """
        return self.get_dataset_df(dataset_id, train=train).to_numpy()

    def get_detailed_metadata(self, dataset_id: DatasetId, train: bool = False) -> DatasetMetadata:
        """Return everything that can be computed about a dataset.

        The first time it is computed, and kept in a file beside the dataset; custom datasets are computed every time
        and nothing is written.

        Parameters
        ----------
        dataset_id
            Collection and name.
        train
            Take the training instead of the test series.
        """
        from timeeval.datasets.analyzer import DatasetAnalyzer

        if dataset_id[0] in self._custom_datasets.get_collection_names():
            self._log.warning("Nothing is kept about the custom dataset %s: it is analyzed anew.", dataset_id)
            return DatasetAnalyzer(dataset_id, is_train=train, df=self.get_dataset_df(dataset_id, train)).metadata
        folder = readable(self.get_dataset_path(dataset_id, train)).parent
        file = folder / f"{dataset_id[1]}.{self.METADATA_FILENAME_SUFFIX}"
        if file.exists():
            try:
                return DatasetAnalyzer.load_from_json(file, train)
            except ValueError:
                self._log.info("%s says nothing about %s yet; it is analyzed.", file, dataset_id)
        analyzer = DatasetAnalyzer(dataset_id, is_train=train, df=self.get_dataset_df(dataset_id, train))
        analyzer.save_to_json(file)
        return analyzer.metadata

    def _records(self) -> dict[DatasetId, dict[str, Any]]:
        """Rows by identity, as plain Python values; pandas takes 50 times as long for one row."""
        if self._rows_of is not self._df:
            rows: list[dict[str, Any]] = self._df.to_dict("records")  # type: ignore[assignment]  # columns are named
            self._rows = dict(zip(self._df.index, rows, strict=True))
            self._rows_of = self._df
        return self._rows

    def _row(self, dataset_id: DatasetId) -> dict[str, Any]:
        try:
            return self._records()[dataset_id]
        except KeyError:
            msg = f"The dataset {dataset_id!r} was not found"
            raise DatasetNotFoundError(msg, remedy="select() lists the known ones") from None

    def _path_of(self, dataset_id: DatasetId, train: bool) -> str:
        """Path of a benchmark dataset's file as its index has it."""
        path = self._row(dataset_id)["train_path" if train else "test_path"]
        if _missing(path):
            msg = (
                f"The path to the {'training' if train else 'test'} series of {dataset_id!r} was not found in the index"
            )
            raise DatasetNotFoundError(msg)
        return str(path)


def _missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _identity(collection_name: object, dataset_name: object) -> DatasetId:
    if isinstance(collection_name, str) and isinstance(dataset_name, str):
        return collection_name, dataset_name
    if dataset_name is None and isinstance(collection_name, tuple) and len(collection_name) == 2:
        return collection_name
    msg = (
        f"Cannot use {collection_name!r} and {dataset_name!r} as the name of a dataset: give two names, or one tuple "
        "of collection and name."
    )
    raise ValueError(msg)
