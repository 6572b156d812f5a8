"""What a source of a user's own datasets can do."""

from abc import ABC, abstractmethod
from pathlib import Path

from timeeval.data_types import InputDimensionality, TrainingType
from timeeval.datasets.dataset import Dataset


class CustomDatasetsBase(ABC):
    """Datasets that no index file knows."""

    @abstractmethod
    def get_collection_names(self) -> list[str]:
        """Names of the collections."""

    @abstractmethod
    def get_dataset_names(self) -> list[str]:
        """Names of the datasets."""

    @abstractmethod
    def get_path(self, dataset_name: str, train: bool) -> Path:
        """Path of a dataset's file.

        Parameters
        ----------
        dataset_name
            Its name.
        train
            Take the training instead of the test series.
        """

    @abstractmethod
    def get(self, dataset_name: str) -> Dataset:
        """Describe a dataset."""

    @abstractmethod
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
    ) -> list[tuple[str, str]]:
        """Identities of the datasets that meet all conditions; for the parameters see `Datasets.select`."""
