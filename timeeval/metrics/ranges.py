"""Range-based precision and recall, for one prediction or for many thresholds at once.

A range of predicted points earns a reward for each anomalous range it meets and the other way round [1]_. All
thresholds are computed together: scores are replaced by their *level*, the number of thresholds they reach. Predicted
ranges that meet no anomaly earn nothing, so it suffices to count them; how far the others reach beyond an anomaly is
a binary search in a running minimum. Work is O(n + T·A) and memory O(n) for n points, T thresholds and A
anomalous points.

Rewards are added one after the other, never pairwise: precision-recall curves are sorted by these sums, and a
difference in the last bit would reorder ties and move the area under the curve.

References
----------
.. [1] N. Tatbul, T. J. Lee, S. Zdonik, M. Alam, J. Gottschlich: Precision and Recall for Time Series. NeurIPS 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array
    from timeeval.metrics.scoring import Ranges

CARDINALITIES = ("one", "reciprocal", "udf_gamma")
BIASES = ("flat", "front", "middle", "back")

_CELLS_AT_A_TIME = 1 << 20
"""Thresholds times points that are looked at in one go: bounds the memory to some 30 MB."""


@dataclass(frozen=True, slots=True)
class Reward:
    """How a range is rewarded for the ranges of the other side that it meets.

    Attributes
    ----------
    alpha
        Weight, from 0 to 1, of meeting any range at all; the rest is earned by the overlaps.
    cardinality
        What several overlaps are multiplied by: `one` (1), `reciprocal` (1 / number of overlaps) or `udf_gamma` (1).
    bias
        Which positions of the range matter most: `flat`, `front`, `middle` or `back`.
    """

    alpha: float
    cardinality: str
    bias: str

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, but is {self.alpha}.")
        if self.cardinality not in CARDINALITIES:
            raise ValueError(f"cardinality must be one of {', '.join(CARDINALITIES)}, but is {self.cardinality!r}.")
        if self.bias not in BIASES:
            raise ValueError(f"bias must be one of {', '.join(BIASES)}, but is {self.bias!r}.")

    def share(self, first: Array, last: Array, length: Array) -> Array:
        """Return the share of ranges' weight that lies on positions `first` (from 0) up to `last` (exclusive)."""
        if self.bias == "flat":
            return np.asarray((last - first) / length)
        mass = _FRONT_TO_BACK[self.bias]
        return np.asarray((mass(last, length) - mass(first, length)) / mass(length, length))

    def combine(self, overlaps: Array, shares: Array) -> Array:
        """Return the rewards of ranges that meet `overlaps` > 0 others with the summed `shares`."""
        if self.cardinality == "reciprocal":
            shares = 1 / overlaps * shares
        return np.asarray(self.alpha + (1 - self.alpha) * shares)


def _triangle(count: Array) -> Array:
    return np.asarray(count * (count + 1) // 2)


def _front_mass(count: Array, length: Array) -> Array:
    return _triangle(length) - _triangle(length - count)


def _back_mass(count: Array, _length: Array) -> Array:
    return _triangle(count)


def _middle_mass(count: Array, length: Array) -> Array:
    half = length // 2
    rising = _triangle(np.minimum(count, half))
    return rising + _triangle(length - half) - _triangle(length - np.maximum(count, half))


_FRONT_TO_BACK = {"front": _front_mass, "middle": _middle_mass, "back": _back_mass}
"""Summed position weights of the first `count` of `length` positions, in integers."""


class Curve(NamedTuple):
    """Precision and recall per threshold, ascending thresholds, float64 of shape (T,)."""

    precision: Array
    recall: Array


def range_precision_recall(levels: Array, count: int, anomalies: Ranges, p: Reward, r: Reward) -> Curve:
    """Return range-based precision and recall for every threshold.

    Parameters
    ----------
    levels : ndarray of shape (n,), unsigned
        Number of thresholds that each point reaches; for one threshold, the predictions.
    count
        Number of thresholds.
    anomalies
        At least one real range.
    p, r
        Rewards of predicted ranges (precision) and of real ranges (recall).

    Returns
    -------
    Curve
        Precision is NaN where no point is predicted.
    """
    return _Levels(levels, count, anomalies).curve(p, r)


class _Segments(NamedTuple):
    """Overlaps of predicted with real ranges, by threshold, then position; all of shape (segments,)."""

    row: Array
    """Index of the threshold within the block."""
    anomaly: Array
    start: Array
    end: Array


class _Levels:
    def __init__(self, levels: Array, count: int, anomalies: Ranges) -> None:
        self.levels, self.count = levels, count
        self.anomalies = anomalies
        self.n = len(levels)
        starts, ends = anomalies
        self.after = _Reach(self.levels, ends, self.count)
        self.before = _Reach(self.levels[::-1], (self.n - starts)[::-1], self.count)
        self._lay_out_anomalies()

    def _lay_out_anomalies(self) -> None:
        """Put the anomalous points side by side, with a gap before each anomaly that no threshold reaches."""
        lengths = self.anomalies.lengths
        anomaly = np.repeat(np.arange(len(lengths)), lengths + 1)
        first_column = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
        position = np.arange(len(anomaly)) - first_column[anomaly] - 1 + self.anomalies.starts[anomaly]
        laid_out = self.levels[np.maximum(position, 0)]
        laid_out[first_column] = 0
        self.laid_out = np.append(laid_out, laid_out.dtype.type(0))
        self.anomaly_of_column = anomaly
        self.position_of_column = position

    def curve(self, p: Reward, r: Reward) -> Curve:
        predicted = self._predicted_ranges()
        precision, recall = np.zeros(self.count), np.zeros(self.count)
        rows = max(1, _CELLS_AT_A_TIME // len(self.laid_out))
        for first in range(0, self.count, rows):
            last = min(first + rows, self.count)
            segments = self._segments(first, last)
            precision[first:last] = self._predicted_rewards(segments, first, last - first, p)
            recall[first:last] = self._real_rewards(segments, last - first, r)
        recall /= len(self.anomalies.starts)
        with np.errstate(invalid="ignore"):
            precision /= predicted
        return Curve(precision, recall)

    def _predicted_ranges(self) -> Array:
        """Return the number of predicted ranges per threshold: points that reach it less neighbours that both do."""
        points = np.bincount(self.levels, minlength=self.count + 1)
        pairs = np.bincount(np.minimum(self.levels[1:], self.levels[:-1]), minlength=self.count + 1)
        return np.cumsum((points - pairs)[::-1])[::-1][1:]

    def _segments(self, first: int, last: int) -> _Segments:
        width = len(self.laid_out)
        reached = self.laid_out[np.newaxis, :] > np.arange(first, last, dtype=self.laid_out.dtype)[:, np.newaxis]
        reached = reached.ravel()
        edges = np.flatnonzero(reached[1:] != reached[:-1])
        start, end = edges[0::2] + 1, edges[1::2] + 1
        row = start // width
        column = start - row * width
        position = self.position_of_column[column]
        return _Segments(row, self.anomaly_of_column[column], position, position + (end - start))

    def _real_rewards(self, segments: _Segments, rows: int, reward: Reward) -> Array:
        """Return the summed rewards of the real ranges per row."""
        if len(segments.row) == 0:
            return np.zeros(rows)
        starts, lengths = self.anomalies.starts[segments.anomaly], self.anomalies.lengths[segments.anomaly]
        share = reward.share(segments.start - starts, segments.end - starts, lengths)
        key = segments.row * len(self.anomalies.starts) + segments.anomaly
        first = np.ones(len(key), dtype=bool)
        np.not_equal(key[1:], key[:-1], out=first[1:])
        return _sum_of_rewards(first, share, segments.row, rows, reward)

    def _predicted_rewards(self, segments: _Segments, offset: int, rows: int, reward: Reward) -> Array:
        """Return the summed rewards of the predicted ranges per row."""
        if len(segments.row) == 0:
            return np.zeros(rows)
        real = self.anomalies
        row, anomaly, start, end = segments
        level = row + offset
        at_start, at_end = start == real.starts[anomaly], end == real.ends[anomaly]
        reach_before, reach_after = np.zeros_like(start), np.zeros_like(end)
        last_anomaly = len(real.starts) - 1
        reach_before[at_start] = self.before.beyond(last_anomaly - anomaly[at_start], level[at_start])
        reach_after[at_end] = self.after.beyond(anomaly[at_end], level[at_end])
        # Neighbouring segments belong to one predicted range if all points between their anomalies are predicted.
        first = np.ones(len(row), dtype=bool)
        joined = (row[1:] == row[:-1]) & at_end[:-1] & at_start[1:] & (end[:-1] + reach_after[:-1] >= start[1:])
        np.logical_not(joined, out=first[1:])
        last = np.append(first[1:], True)
        group = np.cumsum(first) - 1
        range_start = (start - reach_before)[first][group]
        range_length = (end + reach_after)[last][group] - range_start
        share = reward.share(start - range_start, end - range_start, range_length)
        return _sum_of_rewards(first, share, row, rows, reward)


class _Reach:
    """How many points after each border reach a level without interruption; the next border ends every reach."""

    def __init__(self, levels: Array, borders: Array, count: int) -> None:
        n, stride = len(levels), count + 1
        # Each gap gets its own band of values above the previous gap's, so one running maximum serves all gaps.
        lengths = np.diff(borders, prepend=0, append=n)
        kind = np.int32 if stride * len(lengths) < 2**31 else np.int64
        key = np.repeat(np.arange(count, count + stride * len(lengths), stride, dtype=kind), lengths)
        np.subtract(key, levels, out=key)
        np.maximum.accumulate(key, out=key)
        self.key, self.levels, self.borders, self.stride, self.count = key, levels, borders, stride, count

    def beyond(self, border: Array, level: Array) -> Array:
        """Return for each query how many points from the border on reach above `level` (0 to count - 1)."""
        reach = np.zeros_like(border)
        at = self.borders[border]
        goes_on = np.flatnonzero((at < len(self.levels)) & (self.levels[np.minimum(at, len(self.levels) - 1)] > level))
        at, border, level = at[goes_on], border[goes_on], level[goes_on]
        query = ((border + 1) * self.stride + (self.count - level)).astype(self.key.dtype)
        reach[goes_on] = np.searchsorted(self.key, query, side="left") - at
        return reach


def _sum_of_rewards(first: Array, share: Array, row: Array, rows: int, reward: Reward) -> Array:
    """Return the rewards per row of consecutive segments grouped by `first`, added in order (as bincount does)."""
    group = np.cumsum(first) - 1
    rewards = reward.combine(np.bincount(group), np.bincount(group, weights=share))
    return np.asarray(np.bincount(row[first], weights=rewards, minlength=rows), dtype=np.float64)
