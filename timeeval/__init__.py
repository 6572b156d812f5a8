"""TimeEval: evaluate time series anomaly detection algorithms, on one machine or on all of a cluster.

The public names are loaded when they are first used, so ``import timeeval`` costs next to nothing.
"""

from typing import TYPE_CHECKING

from timeeval._distribution import refuse_foreign_distribution
from timeeval._stand_in import stand_in
from timeeval._version import __version__

refuse_foreign_distribution()
stand_in()

if TYPE_CHECKING:
    from timeeval.algorithm import Algorithm
    from timeeval.data_types import AlgorithmParameter, InputDimensionality, TrainingType
    from timeeval.datasets.dataset_manager import DatasetManager
    from timeeval.datasets.datasets import Datasets
    from timeeval.datasets.multi_dataset_manager import MultiDatasetManager
    from timeeval.metrics import DefaultMetrics, Metric
    from timeeval.remote_configuration import RemoteConfiguration
    from timeeval.resource_constraints import ResourceConstraints
    from timeeval.timeeval import Status, TimeEval
else:
    from timeeval._lazy import lazy_attributes

    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "Algorithm": "timeeval.algorithm",
            "AlgorithmParameter": "timeeval.data_types",
            "InputDimensionality": "timeeval.data_types",
            "TrainingType": "timeeval.data_types",
            "DatasetManager": "timeeval.datasets.dataset_manager",
            "Datasets": "timeeval.datasets.datasets",
            "MultiDatasetManager": "timeeval.datasets.multi_dataset_manager",
            "DefaultMetrics": "timeeval.metrics",
            "Metric": "timeeval.metrics",
            "RemoteConfiguration": "timeeval.remote_configuration",
            "ResourceConstraints": "timeeval.resource_constraints",
            "Status": "timeeval.timeeval",
            "TimeEval": "timeeval.timeeval",
        },
        submodules=(
            "adapters",
            "algorithm",
            "constants",
            "data_types",
            "datasets",
            "durations",
            "heuristics",
            "integration",
            "metrics",
            "params",
            "remote_configuration",
            "resource_constraints",
            "timeeval",
            "utils",
        ),
    )

__all__ = [
    "Algorithm",
    "AlgorithmParameter",
    "DatasetManager",
    "Datasets",
    "DefaultMetrics",
    "InputDimensionality",
    "Metric",
    "MultiDatasetManager",
    "RemoteConfiguration",
    "ResourceConstraints",
    "Status",
    "TimeEval",
    "TrainingType",
    "__version__",
]
