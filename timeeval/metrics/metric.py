"""What a metric is: the contract for users' own metrics, and the checks every metric applies to its input."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, ClassVar, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
"""A numpy array whose shape and dtype the docstring names."""

CONSTANT_SCORES = "Cannot compute metric for a constant value in y_score, returning 0.0!"


class Metric(ABC):
    """Base of all metrics; subclass it to define your own.

    A metric object carries its constructor's arguments and nothing else: its value for a series never depends on the
    series seen before.

    Attributes
    ----------
    definition_version
        Changes whenever the value that a metric assigns to the same input changes. Together with `name` and
        `arguments` it identifies a stored metric value.
    """

    definition_version: ClassVar[str] = "1"
    _only_reads: ClassVar[bool] = False  # users' metrics may write to the arrays they get, so they get copies

    def __call__(
        self,
        y_true: Array,
        y_score: Array,
        *,
        inf_is_1: bool = True,
        neginf_is_0: bool = True,
        nan_is_0: bool = True,
    ) -> float:
        """Check the input, replace non-finite scores and compute the metric.

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels, 1 for an anomalous point and 0 for a normal one.
        y_score : ndarray of shape (n,) or (n, 1)
            Anomaly scores (floating dtype), or predictions (integers or bool) for metrics that do not take scores.
        inf_is_1, neginf_is_0, nan_is_0
            Whether positive infinity counts as score 1, negative infinity and NaN as score 0. Where a flag is False
            the points concerned get the wrong answer, that is, one minus their label.

        Returns
        -------
        float
            The value; 0.0, with a warning, if all scores are equal; NaN, with a warning, where it is undefined.

        Raises
        ------
        ValueError
            If the arrays are not one-dimensional, differ in length or hold labels that are not finite, or if scores
            are given where predictions are needed or the other way round.
        """
        y_true, y_score = validated(
            self, y_true, y_score, inf_is_1=inf_is_1, neginf_is_0=neginf_is_0, nan_is_0=nan_is_0
        )
        if y_score[0] == y_score[-1] and np.all(y_score == y_score[0]):
            warnings.warn(CONSTANT_SCORES, stacklevel=2)
            return 0.0
        return self.score(y_true, y_score)

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the metric: the header of its column in result tables."""

    @abstractmethod
    def score(self, y_true: Array, y_score: Array) -> float:
        """Compute the metric for checked input (see `__call__`, which users call).

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Finite labels, 0 or 1.
        y_score : ndarray of shape (n,)
            Finite scores (floating dtype) or predictions (integers or bool).

        Returns
        -------
        float
        """

    @abstractmethod
    def supports_continuous_scorings(self) -> bool:
        """Whether the metric takes floating-point scores (True) or binary predictions (False)."""

    def arguments(self) -> dict[str, Any]:
        """Return what the object was made with, in values JSON knows.

        Returns
        -------
        dict
            One entry per attribute, sorted by name, without leading underscores.
        """
        return _plain_attributes(self)


def validated(
    metric: Metric,
    y_true: Array,
    y_score: Array,
    *,
    inf_is_1: bool = True,
    neginf_is_0: bool = True,
    nan_is_0: bool = True,
) -> tuple[Array, Array]:
    """Return checked labels and scores in which every score is finite.

    Parameters and errors are those of `Metric.__call__`. The arrays are copies, unless the metric is one of ours.
    """
    copy = None if metric._only_reads else True  # noqa: SLF001  of this module
    y_true, y_score = np.array(y_true, copy=copy), np.array(y_score, copy=copy)
    continuous = metric.supports_continuous_scorings()
    if continuous and y_true.dtype == np.float64 and y_score.dtype == np.int64:
        warnings.warn(
            "y_true holds floats and y_score integers: the two seem to be in the wrong order and are swapped.",
            stacklevel=3,
        )
        y_true, y_score = y_score, y_true
    if y_true.dtype == object:  # a column of DataFrame.values
        y_true = y_true.astype(np.float64)
    y_true, y_score = _column(y_true, "y_true"), _column(y_score, "y_score")
    if not np.all(np.isfinite(y_true)):
        raise ValueError("y_true contains NaN or infinity, but every point needs a label: 0 or 1.")
    if len(y_true) != len(y_score):
        raise ValueError(
            f"y_true has {len(y_true)} points, but y_score has {len(y_score)}: every point needs one score. An "
            "algorithm that scores windows needs a post-processing step (timeeval.utils.window.ReverseWindowing)."
        )
    if len(y_true) == 0:
        raise ValueError("y_true and y_score are empty, there is nothing to score.")
    if not continuous and y_score.dtype.kind not in "iub":
        raise ValueError(
            f"When using metric {metric.name}, the scores must be integers (or bool), not {y_score.dtype}: apply a "
            "threshold first, for example with a strategy from timeeval.metrics.thresholding."
        )
    if continuous and y_score.dtype.kind != "f":
        raise ValueError(f"When using metric {metric.name}, the scores must be floats, not {y_score.dtype}.")
    if y_score.dtype.kind == "f" and not np.isfinite(y_score).all():
        y_score = y_score.copy()
        _replace(y_score, np.isposinf(y_score), 1, y_true, as_value=inf_is_1)
        _replace(y_score, np.isneginf(y_score), 0, y_true, as_value=neginf_is_0)
        _replace(y_score, np.isnan(y_score), 0, y_true, as_value=nan_is_0)
    return y_true, y_score


def undefined(metric: Metric, reason: str) -> float:
    """Warn that `metric` has no value, and why; return NaN."""
    warnings.warn(f"{metric.name} is undefined and reported as NaN: {reason}.", stacklevel=3)
    return float("nan")


def trapezoid(y: Array, x: Array) -> float:
    """Return the area under the curve `y` over `x`, positive for falling `x` too."""
    return float(abs(np.trapezoid(y, x)))


def _column(values: Array, what: str) -> Array:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, but its shape is {values.shape}.")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{what} must hold numbers, but its dtype is {values.dtype}.")
    return values


def _replace(scores: Array, mask: Array, value: float, labels: Array, *, as_value: bool) -> None:
    if mask.any():
        scores[mask] = value if as_value else 1 - labels[mask]


def _plain_attributes(thing: object) -> dict[str, Any]:
    return {key.lstrip("_"): _plain(value) for key, value in sorted(getattr(thing, "__dict__", {}).items())}


def _plain(value: object) -> object:
    """Return `value` in JSON's terms; equal for equal values in every process (no addresses)."""
    plain: object
    if value is None or isinstance(value, bool | int | float | str):
        plain = value
    elif isinstance(value, Enum):
        plain = value.name
    elif isinstance(value, np.generic | np.ndarray):
        plain = value.tolist()
    elif isinstance(value, list | tuple):
        plain = [_plain(item) for item in value]
    elif isinstance(value, dict):
        plain = {str(key): _plain(item) for key, item in value.items()}
    elif hasattr(value, "__qualname__"):  # a class or function
        plain = f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    elif any("__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
        plain = repr(value)
    else:
        plain = {"class": f"{type(value).__module__}.{type(value).__qualname__}", **_plain_attributes(value)}
    return plain
