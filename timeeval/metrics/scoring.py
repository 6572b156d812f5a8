"""One result as the metrics see it: labels and scores, with everything several metrics need computed once."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeGuard

import numpy as np

from timeeval.metrics.metric import CONSTANT_SCORES, Array, Metric, validated
from timeeval.metrics.order import Order, firsts

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ranges(NamedTuple):
    """Maximal runs of consecutive points: `starts` inclusive, `ends` exclusive, both int64 and ascending."""

    starts: Array
    ends: Array

    @property
    def lengths(self) -> Array:
        """Number of points of each range, shape (ranges,), int64."""
        return np.asarray(self.ends - self.starts)


class TieGroups(NamedTuple):
    """Counts at each distinct score of an anomalous point, highest score first; all int64 of shape (groups,)."""

    positives: Array
    """Anomalous points with exactly this score."""
    points: Array
    """Points with exactly this score."""
    positives_above: Array
    """Anomalous points with a higher score."""
    points_above: Array
    """Points with a higher score."""


class Scoring:
    """Labels and scores of one series.

    Parameters
    ----------
    y_true : ndarray of shape (n,)
        Labels, 0 or 1, of any numeric dtype.
    y_score : ndarray of shape (n,)
        Finite scores or predictions.

    Raises
    ------
    ValueError
        If a label is neither 0 nor 1.
    """

    def __init__(self, y_true: Array, y_score: Array) -> None:
        self.y_true = y_true
        self.scores = y_score
        self.labels: Array = y_true == 1
        self.order = Order(y_score)
        self.n = len(y_score)
        self.positives = int(np.count_nonzero(self.labels))
        if np.count_nonzero(y_true) != self.positives:
            raise ValueError("y_true must hold nothing but 0 (normal) and 1 (anomalous).")

    @property
    def constant(self) -> bool:
        """Whether all scores are equal."""
        return self.order.lowest == self.order.top

    @cached_property
    def anomalies(self) -> Ranges:
        """The anomalous ranges."""
        return runs(self.labels)

    @cached_property
    def pair_minima(self) -> Array:
        """Smaller score of each two neighbours, shape (n - 1,).

        The number of ranges at or above a threshold is the number of such points less that of such pairs.
        """
        return np.asarray(np.minimum(self.scores[1:], self.scores[:-1]))

    @cached_property
    def tie_groups(self) -> TieGroups:
        """The counts from which the ROC and precision-recall curves follow.

        Only distinct scores of anomalous points are kept: nowhere else does recall change.
        """
        positive_scores = np.sort(self.scores[self.labels])
        first = np.flatnonzero(firsts(positive_scores))[::-1]
        below, up_to = self.order.counts(positive_scores[first])
        positives = -np.diff(first, prepend=self.positives)
        return TieGroups(
            positives=positives,
            points=up_to - below,
            positives_above=self.positives - first - positives,
            points_above=self.n - up_to,
        )


class ScoringMetric(Metric):
    """A metric that is computed from a `Scoring`, so that several metrics of one result share its work.

    Attributes
    ----------
    sorts_all
        Whether the metric needs all scores sorted, which then spares other metrics of the result some work.
    """

    sorts_all: ClassVar[bool] = False
    _only_reads = True

    def score(self, y_true: Array, y_score: Array) -> float:
        """Compute the metric for checked input, see `Metric.score`."""
        return self.evaluate(Scoring(y_true, y_score))

    @abstractmethod
    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""

    def supports_continuous_scorings(self) -> bool:
        """Whether the metric takes floating-point scores: yes."""
        return True


def score_each(metrics: Sequence[Metric], y_true: Array, y_score: Array) -> list[float | Exception]:
    """Compute several metrics for one result; what they have in common is computed once.

    Parameters
    ----------
    metrics
        Any metrics, also users' own.
    y_true : ndarray of shape (n,)
        Labels, 0 or 1.
    y_score : ndarray of shape (n,)
        Scores, see `Metric.__call__`.

    Returns
    -------
    list of float or Exception
        For each metric exactly what calling it alone gives: its value, or the exception it raised.
    """
    shared: Scoring | None = None
    outcomes: list[float | Exception] = []
    for metric in metrics:
        try:
            if not _can_share(metric):
                outcomes.append(metric(y_true, y_score))
                continue
            if shared is None:
                shared = Scoring(*validated(metric, y_true, y_score))
                if any(isinstance(one, ScoringMetric) and one.sorts_all for one in metrics):
                    _ = shared.order.ascending
            outcomes.append(_shared_value(metric, shared))
        except Exception as error:  # noqa: BLE001  a metric may be the user's own code; its failure is its outcome
            outcomes.append(error)
    return outcomes


def score_all(metrics: Sequence[Metric], y_true: Array, y_score: Array) -> dict[str, float | Exception]:
    """Return the outcomes of `score_each` by `column_names`."""
    return dict(zip(column_names(metrics), score_each(metrics, y_true, y_score), strict=True))


def column_names(metrics: Sequence[Metric]) -> list[str]:
    """Return a name for each metric under which none hides another.

    That is the metric's own name, unless a different metric earlier in the list has taken it (as `RangePrAUC` and
    `RangePrecisionRangeRecallAUC` share RANGE_PR_AUC); then its class is added, and a number if need be.
    """
    taken: dict[str, object] = {}
    names = []
    for metric in metrics:
        identity = (type(metric), metric.arguments(), metric.definition_version)
        named = f"{metric.name} ({type(metric).__name__})"
        choices = chain((metric.name, named), (f"{named} {number}" for number in count(2)))
        name = next(choice for choice in choices if taken.get(choice, identity) == identity)
        taken[name] = identity
        names.append(name)
    return names


def runs(mask: Array) -> Ranges:
    """Return the maximal runs of True in a bool array of shape (n,)."""
    padded = np.zeros(len(mask) + 2, dtype=bool)
    padded[1:-1] = mask
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return Ranges(edges[0::2], edges[1::2])


def _can_share(metric: Metric) -> TypeGuard[ScoringMetric]:
    """Whether calling `metric` does nothing but check its input and evaluate a `Scoring`."""
    kind = type(metric)
    return (
        isinstance(metric, ScoringMetric)
        and kind.__call__ is Metric.__call__
        and kind.score is ScoringMetric.score
        and metric.supports_continuous_scorings()
    )


def _shared_value(metric: ScoringMetric, shared: Scoring) -> float:
    if shared.constant:
        warnings.warn(CONSTANT_SCORES, stacklevel=3)
        return 0.0
    return metric.evaluate(shared)
