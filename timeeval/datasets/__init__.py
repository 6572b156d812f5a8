"""Datasets: what they are, where they are, what is in them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.datasets.analyzer import DatasetAnalyzer
    from timeeval.datasets.dataset import Dataset
    from timeeval.datasets.dataset_manager import DatasetManager
    from timeeval.datasets.datasets import Datasets
    from timeeval.datasets.index import DatasetRecord
    from timeeval.datasets.metadata import AnomalyLength, DatasetMetadata, Stationarity, Trend, TrendType
    from timeeval.datasets.multi_dataset_manager import MultiDatasetManager
else:
    from timeeval._lazy import lazy_attributes

    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "AnomalyLength": "timeeval.datasets.metadata",
            "Dataset": "timeeval.datasets.dataset",
            "DatasetAnalyzer": "timeeval.datasets.analyzer",
            "DatasetManager": "timeeval.datasets.dataset_manager",
            "DatasetMetadata": "timeeval.datasets.metadata",
            "DatasetRecord": "timeeval.datasets.index",
            "Datasets": "timeeval.datasets.datasets",
            "MultiDatasetManager": "timeeval.datasets.multi_dataset_manager",
            "Stationarity": "timeeval.datasets.metadata",
            "Trend": "timeeval.datasets.metadata",
            "TrendType": "timeeval.datasets.metadata",
        },
        submodules=(
            "analyzer",
            "custom",
            "custom_base",
            "custom_noop",
            "dataset",
            "dataset_manager",
            "datasets",
            "index",
            "locations",
            "metadata",
            "multi_dataset_manager",
        ),
    )

__all__ = [
    "AnomalyLength",
    "Dataset",
    "DatasetAnalyzer",
    "DatasetManager",
    "DatasetMetadata",
    "DatasetRecord",
    "Datasets",
    "MultiDatasetManager",
    "Stationarity",
    "Trend",
    "TrendType",
]
