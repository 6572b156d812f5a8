"""One setting of an algorithm's parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from timeeval.utils.hash_dict import hash_dict


class Params(Mapping[str, Any], ABC):
    """One setting; its values may be drawn only where it runs."""

    @abstractmethod
    def materialize(self) -> "Params":
        """Fix the values."""

    @abstractmethod
    def assess(self, y_true: np.ndarray[Any, Any], y_score: np.ndarray[Any, Any]) -> float:
        """Tell how well the setting did.

        Parameters
        ----------
        y_true
            Labels, shape (n,), dtype int, 1 marks an anomaly.
        y_score
            Anomaly scores, shape (n,), dtype float.
        """

    @abstractmethod
    def fail(self) -> None:
        """Tell that no scores could be had with this setting."""

    @abstractmethod
    def uid(self) -> str:
        """Identity of the setting; the same for the same values."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the values by parameter name."""


class FixedParams(dict[str, Any], Params):
    """A setting whose values are known from the start. Compares equal to a plain dictionary of the values."""

    def materialize(self) -> "FixedParams":
        """Return the setting itself: nothing is open."""
        return self

    def assess(self, y_true: np.ndarray[Any, Any], y_score: np.ndarray[Any, Any]) -> float:  # noqa: ARG002
        """Return 0.0: nobody searches."""
        return 0.0

    def fail(self) -> None:
        """Do nothing: nobody searches."""

    def uid(self) -> str:
        """Return the MD5 of the values, see :func:`timeeval.utils.hash_dict.hash_dict`."""
        return hash_dict(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the setting itself, which is a dictionary."""
        return self
