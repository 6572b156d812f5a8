"""No own datasets."""

from pathlib import Path
from typing import Any, NoReturn

from timeeval.datasets.custom_base import CustomDatasetsBase
from timeeval.datasets.dataset import Dataset
from timeeval.errors import DatasetNotFoundError


class NoOpCustomDatasets(CustomDatasetsBase):
    """The source without any dataset, until a user loads one."""

    def get_collection_names(self) -> list[str]:
        """Return nothing."""
        return []

    def get_dataset_names(self) -> list[str]:
        """Return nothing."""
        return []

    def get_path(self, dataset_name: str, train: bool) -> Path:
        """Raise ``KeyError``."""
        _refuse(f"{dataset_name} ({'train' if train else 'test'})")

    def get(self, dataset_name: str) -> Dataset:
        """Raise ``KeyError``."""
        _refuse(dataset_name)

    def select(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:  # noqa: ANN401, ARG002
        """Return nothing."""
        return []


def _refuse(what: str) -> NoReturn:
    msg = f"No custom datasets loaded! {what} cannot be found"
    raise DatasetNotFoundError(msg, remedy="Load them with load_custom_datasets() or custom_datasets_file=")
