"""One setting of an algorithm's parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.utils.hash_dict import hash_dict

if TYPE_CHECKING:
    from timeeval.metrics.metric import Metric


class Params(Mapping[str, Any], ABC):
    """One setting; its values may be drawn only where it runs."""

    __slots__ = ()

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


class SearchedParams(Params):
    """A setting whose values a search draws when its experiment starts.

    The driver alone knows the search: it draws (`materialize`) before the experiment is sent away and tells the search
    what became of it; the experiment gets the values as `FixedParams`.
    """

    @property
    @abstractmethod
    def objective(self) -> "Metric":
        """The metric that the search improves."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what the values will be drawn from, JSON-able; known before they are."""

    @abstractmethod
    def attach(self, runs: Sequence[str]) -> None:
        """Belong to a results folder.

        Parameters
        ----------
        runs
            Ids of the folder's runs, the current one last.
        """

    @abstractmethod
    def tell(self, value: float | None, *, node: str | None = None, hyper_params: str | None = None) -> None:
        """Tell the search how well the setting did; what it knows already changes nothing.

        Parameters
        ----------
        value
            Of the metric, None if there is none.
        node
            Host that computed it.
        hyper_params
            The values as JSON, for a search that has forgotten them.
        """


class FixedParams(dict[str, Any], Params):
    """A setting whose values are known from the start. Compares equal to a plain dictionary of the values."""

    __slots__ = ()

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
