"""Small types that all of TimeEval shares: how algorithms learn, what they take, what they return."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

#: What an algorithm gets and returns: a time series in memory, or the path of a file that holds it.
AlgorithmParameter: TypeAlias = np.ndarray[Any, Any] | Path

#: ``(data, args) -> data``
TSFunction: TypeAlias = Callable[[AlgorithmParameter, dict[str, Any]], AlgorithmParameter]

#: ``(raw result, args) -> scores``, shape (n,), dtype float
TSFunctionPost: TypeAlias = (
    Callable[[AlgorithmParameter, dict[str, Any]], np.ndarray[Any, Any]]
    | Callable[[np.ndarray[Any, Any], dict[str, Any]], np.ndarray[Any, Any]]
    | Callable[[Path, dict[str, Any]], np.ndarray[Any, Any]]
)


class TrainingType(Enum):
    """How an algorithm learns, and what a dataset offers to learn from.

    Unsupervised needs no training; semi-supervised trains on data that is normal throughout; supervised trains on data
    with labelled anomalies.
    """

    UNSUPERVISED = "unsupervised"
    SEMI_SUPERVISED = "semi-supervised"
    SUPERVISED = "supervised"

    @staticmethod
    def from_text(name: str) -> "TrainingType":
        """Read a training type as dataset indices and algorithm manifests write it.

        Parameters
        ----------
        name
            One of the values, in any case. Everything else means unsupervised.
        """
        try:
            return TrainingType(name.lower())
        except ValueError:
            return TrainingType.UNSUPERVISED


class InputDimensionality(Enum):
    """Whether a dataset has one channel or several, and how many an algorithm can take."""

    UNIVARIATE = "univariate"
    MULTIVARIATE = "multivariate"

    @staticmethod
    def from_dimensions(n: int) -> "InputDimensionality":
        """Dimensionality of a time series with ``n`` channels.

        Raises
        ------
        ValueError
            If ``n`` is smaller than 1.
        """
        if n < 1:
            msg = f"A time series has at least one channel, not {n}."
            raise ValueError(msg)
        return InputDimensionality.UNIVARIATE if n == 1 else InputDimensionality.MULTIVARIATE


class ExecutionType(Enum):
    """The two things an algorithm can be asked for: to build a model or to score a time series."""

    TRAIN = "train"
    EXECUTE = "execute"
