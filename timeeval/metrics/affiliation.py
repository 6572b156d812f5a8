"""Affiliation precision and recall: how near predictions and anomalies are, against chance.

The series is cut into one zone per anomaly, in the middle between neighbours [1]_. In each zone the distance of a
predicted point from the anomaly, and of an anomalous point from the prediction, is replaced by the probability that a
point drawn from the zone at random is at least as far off; 1 is perfect, and about 0.5 is what chance gives. Time is
continuous: point t lasts from t to t + 1.

References
----------
.. [1] A. Huet, J. M. Navarro, D. Rossi: Local Evaluation of Time Series Anomaly Detection Algorithms. KDD 2022,
   635-645.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from timeeval.metrics.classification import ThresholdedMetric
from timeeval.metrics.metric import undefined
from timeeval.metrics.scoring import Ranges, Scoring, runs
from timeeval.metrics.thresholding import NoThresholding, ThresholdingStrategy

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array


class _AffiliationMetric(ThresholdedMetric):
    def __init__(self, thresholding_strategy: ThresholdingStrategy | None = None) -> None:
        super().__init__(NoThresholding() if thresholding_strategy is None else thresholding_strategy)

    @property
    def name(self) -> str:
        """`<class>_<strategy>`."""
        return f"{type(self).__name__}_{self._thresholding_strategy}"

    def _affiliation(self, scoring: Scoring) -> Affiliation:
        return affiliation(scoring.anomalies, runs(self.predictions(scoring)), scoring.n)


class AffiliationPrecision(_AffiliationMetric):
    """How near predicted points are to the anomaly of their zone, mean over the zones with a prediction [1]_.

    Undefined (NaN) when no point is predicted or none is anomalous.

    Parameters
    ----------
    thresholding_strategy
        How scores become predictions; default: the metric takes predictions (integers or bool).

    References
    ----------
    .. [1] A. Huet, J. M. Navarro, D. Rossi: Local Evaluation of Time Series Anomaly Detection Algorithms. KDD 2022,
       635-645.
    """

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        precision = self._affiliation(scoring).precision
        return undefined(self, _NO_PREDICTION) if np.isnan(precision) else precision


class AffiliationRecall(_AffiliationMetric):
    """How near anomalous points are to the predictions of their zone, mean over all zones (0 without a prediction).

    Undefined (NaN) when no point is anomalous. Parameter and source are those of `AffiliationPrecision`.
    """

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        return self._affiliation(scoring).recall


class AffiliationFScore(_AffiliationMetric):
    """Harmonic mean of affiliation precision and recall.

    Undefined (NaN) when no point is predicted or none is anomalous. Parameter and source are those of
    `AffiliationPrecision`.
    """

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        precision, recall = self._affiliation(scoring)
        if np.isnan(precision):
            return undefined(self, _NO_PREDICTION)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


_NO_ANOMALY = "no point is labelled anomalous"
_NO_PREDICTION = "no point is predicted to be anomalous"


class Affiliation(NamedTuple):
    """Affiliation precision (NaN without a prediction) and recall."""

    precision: float
    recall: float


class _Zones(NamedTuple):
    """One zone per anomaly: from `left` to `right` on the time axis, the anomaly from `start` to `end`; float64."""

    left: Array
    start: Array
    end: Array
    right: Array

    def at(self, zone: Array) -> _Zones:
        return _Zones(*(edge[zone] for edge in self))


def affiliation(anomalies: Ranges, predicted: Ranges, n: int) -> Affiliation:
    """Return affiliation precision and recall of predicted ranges in a series of `n` points with an anomaly."""
    borders = np.concatenate(([0.0], (anomalies.ends[:-1] + anomalies.starts[1:]) / 2, [float(n)]))
    zones = _Zones(borders[:-1], anomalies.starts.astype(float), anomalies.ends.astype(float), borders[1:])
    start, end, zone = _cut(predicted, borders)
    if len(zone) == 0:
        return Affiliation(float("nan"), 0.0)
    count = len(zones.left)
    predicted_length = np.bincount(zone, weights=end - start, minlength=count)
    has_prediction = predicted_length > 0
    precision = np.bincount(zone, weights=_precision_integral(start, end, zones.at(zone)), minlength=count)
    recall = _recall_integrals(start, end, zone, zones) / (zones.end - zones.start)
    return Affiliation(
        float(np.mean(precision[has_prediction] / predicted_length[has_prediction])), float(np.mean(recall))
    )


def _cut(predicted: Ranges, borders: Array) -> tuple[Array, Array, Array]:
    """Return starts, ends and zones of the predicted ranges, cut at the zones' borders."""
    inner = borders[1:-1]
    at = np.searchsorted(predicted.starts, inner, side="left") - 1  # the last range that starts before the border
    cuts = inner[(at >= 0) & (inner < predicted.ends[at])] if len(predicted.ends) else inner[:0]
    start = np.sort(np.concatenate((predicted.starts, cuts)))
    end = np.sort(np.concatenate((predicted.ends, cuts)))
    return start, end, np.searchsorted(borders, start, side="right") - 1


def _precision_integral(start: Array, end: Array, zone: _Zones) -> Array:
    """Integrate, over each predicted piece, the probability that a random point is at least as far off."""
    before, after = zone.start - zone.left, zone.right - zone.end

    def up_to(distance: Array) -> Array:
        # Integral over d of the share of the zone that lies at least d off the anomaly.
        left, right = np.minimum(distance, before), np.minimum(distance, after)
        return np.asarray(before * left - left**2 / 2 + after * right - right**2 / 2)

    on_left = up_to(np.maximum(zone.start - start, 0)) - up_to(np.maximum(zone.start - end, 0))
    on_right = up_to(np.maximum(end - zone.end, 0)) - up_to(np.maximum(start - zone.end, 0))
    return np.asarray(_overlap(start, end, zone.start, zone.end) + (on_left + on_right) / (zone.right - zone.left))


def _recall_integrals(start: Array, end: Array, zone: Array, zones: _Zones) -> Array:
    """Integrate, over each anomaly, the probability that a random point is at least as far off as the prediction."""
    count = len(zones.left)
    own = zones.at(zone)
    is_first = np.append(True, zone[1:] != zone[:-1])
    is_last = np.append(is_first[1:], True)
    # Each piece is the nearest one up to the middle of the gap on either side, or up to the zone's border.
    middle = (end[:-1] + start[1:]) / 2
    low = np.where(is_first, own.left, np.append(0.0, middle))
    high = np.where(is_last, own.right, np.append(middle, 0.0))
    covered = _overlap(start, end, own.start, own.end)
    before = _approach(low, start, own)
    mirrored = _Zones(-own.right, -own.end, -own.start, -own.left)
    after = _approach(-high, -end, mirrored)
    return np.bincount(zone, weights=covered + (before + after) / (own.right - own.left), minlength=count)


def _approach(low: Array, piece: Array, zone: _Zones) -> Array:
    """Integrate over the anomaly's points y from `low` to `piece` the length of the zone at least piece - y off y."""
    first, last = np.maximum(low, zone.start), np.minimum(piece, zone.end)
    last = np.maximum(first, last)
    on_left = np.maximum(2 * last - zone.left - piece, 0) ** 2 - np.maximum(2 * first - zone.left - piece, 0) ** 2
    return np.asarray(on_left / 4 + (zone.right - piece) * (last - first))


def _overlap(start: Array, end: Array, other_start: Array, other_end: Array) -> Array:
    return np.asarray(np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0.0))
