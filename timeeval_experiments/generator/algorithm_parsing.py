"""The reader of algorithm manifests under the path that scripts know."""

from timeeval.algorithms.manifests import (
    AlgorithmLoader,
    AlgorithmManifestLoadingWarning,
    InvalidManifestWarning,
    MissingManifestWarning,
    MissingReadmeWarning,
)

__all__ = [
    "AlgorithmLoader",
    "AlgorithmManifestLoadingWarning",
    "InvalidManifestWarning",
    "MissingManifestWarning",
    "MissingReadmeWarning",
]
