"""Algorithms that are container images with the entry point ``execute-algorithm``."""

from timeeval.adapters.docker.adapter import DockerAdapter
from timeeval.adapters.docker.contract import (
    DATASET_TARGET_PATH,
    MODEL_FILE_NAME,
    RESULTS_TARGET_PATH,
    SCORES_FILE_NAME,
    AlgorithmInterface,
    DockerJSONEncoder,
)
from timeeval.adapters.docker.engine import remove_containers
from timeeval.errors import (
    DockerAdapterInternalError,
    DockerAlgorithmFailedError,
    DockerMemoryError,
    DockerTimeoutError,
)

__all__ = [
    "DATASET_TARGET_PATH",
    "MODEL_FILE_NAME",
    "RESULTS_TARGET_PATH",
    "SCORES_FILE_NAME",
    "AlgorithmInterface",
    "DockerAdapter",
    "DockerAdapterInternalError",
    "DockerAlgorithmFailedError",
    "DockerJSONEncoder",
    "DockerMemoryError",
    "DockerTimeoutError",
    "remove_containers",
]
