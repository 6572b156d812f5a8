"""Areas under curves whose labels are extended by a buffer around each anomaly.

A buffer of `b` points extends each anomaly by a slope of l = b // 2 points on either side. Only points within the
largest slope matter, and a point enters with the rank of the first threshold it reaches, its *bin*; so two-dimensional
histograms of (distance, bin) hold the true positives of all buffers and thresholds. Work is one sort of the scores
plus O(A + K·B + B·T) for A points near anomalies, K anomalies, B buffers and T thresholds; memory is O(n + B·T).

Two definitions of the slope exist, see `timeeval.metrics.vus`. In the linear one a point's weight falls with its
distance to the nearest anomaly, and extended anomalies may overlap. In the other ("compatibility mode") the weight of
a point j points off is sqrt(1 - j/b), weights of several slopes add up to at most 1 (as none is below 1/sqrt(2), two
always do), the slope to the right is one point shorter, and anomalies whose slopes touch count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array
    from timeeval.metrics.scoring import Scoring

_DROP = 1 - 1 / np.sqrt(2)
"""How much a point at the far end of a linear slope weighs less than an anomalous one."""
_COMPATIBILITY_SAMPLES = 250
_FAR = np.iinfo(np.int64).max // 4


class Curves(NamedTuple):
    """Curves of one or more buffer sizes, float64, one row per buffer size and one column per point of the curve."""

    recall: Array
    """Starts with 0 and ends with 1, shape (buffers, thresholds + 2)."""
    false_positive_rate: Array
    """Starts with 0 and ends with 1, shape (buffers, thresholds + 2); NaN or 1 where all points are anomalous."""
    precision: Array
    """Starts with 1, shape (buffers, thresholds + 1)."""

    @property
    def pr_areas(self) -> Array:
        """Areas under precision over recall, shape (buffers,); the closing recall of 1 is no part of them."""
        means = (self.precision[:, 1:] + self.precision[:, :-1]) / 2
        return np.asarray(np.sum(np.diff(self.recall[:, :-1], axis=1) * means, axis=1))

    @property
    def roc_areas(self) -> Array:
        """Areas under recall over the false positive rate, shape (buffers,)."""
        means = (self.recall[:, 1:] + self.recall[:, :-1]) / 2
        return np.asarray(np.sum(np.diff(self.false_positive_rate, axis=1) * means, axis=1))


def curves_of(scoring: Scoring, buffer: int, samples: int, *, compatible: bool) -> Curves:
    """Return the curves for one buffer size, however large.

    Parameters
    ----------
    scoring
        The result; at least one point is anomalous.
    buffer
        Points of the buffer.
    samples
        Number of thresholds; compatibility mode always uses 250.
    compatible
        Whether slopes are those of compatibility mode.
    """
    reach = buffer // 2
    near = _Near.of(scoring, reach, samples, compatible=compatible)
    starts, ends = scoring.anomalies
    if compatible:
        weight = near.root_weights(reach, buffer)
        joined = starts[1:] - ends[:-1] <= 2 * reach - 1
        low = np.maximum(starts - reach, 0)[np.append(True, ~joined)]
        high = np.minimum(ends + max(reach - 1, 0), scoring.n)[np.append(~joined, True)]
    else:
        distance = near.distance
        weight = 1 - _DROP / reach * distance if reach else np.ones(len(distance))
        low = np.maximum(starts - reach, 0)
        high = ends + reach
        high[:-1] += starts[1:] - ends[:-1] <= 2 * reach
        high = np.minimum(high, scoring.n)
    count = near.thresholds
    mass = np.cumsum(np.bincount(near.bin, weights=weight, minlength=count))
    padded = np.append(near.bins, near.bins.dtype.type(count))
    best = np.minimum.reduceat(padded, np.stack((low, high), axis=1).ravel())[::2]
    found = np.cumsum(np.bincount(best, minlength=count + 1)[:count])
    return _curves(scoring, near, mass[np.newaxis], (found / len(low))[np.newaxis])


def curves_up_to(scoring: Scoring, largest: int, samples: int, *, compatible: bool) -> Curves:
    """Return the curves for all buffer sizes from 0 to `largest`; see `curves_of`."""
    reach = largest // 2
    near = _Near.of(scoring, reach, samples, compatible=compatible)
    buffers = np.arange(largest + 1)
    if compatible:
        mass = _root_masses(near, largest)
        found = _found_merged(scoring, near, reach)[buffers // 2]
        return _curves(scoring, near, mass, found)
    mass, found = _linear_masses(near, reach), _found(scoring, near, reach)
    # Buffers 2l and 2l + 1 have the same slopes.
    return Curves(*(curve[buffers // 2] for curve in _curves(scoring, near, mass, found)))


@dataclass(frozen=True, slots=True)
class _Near:
    """The points that the largest buffer reaches, in order of position."""

    thresholds: int
    predicted: Array
    """Number of points that reach each threshold, highest threshold first, shape (thresholds,)."""
    bins: Array
    """Bin of every point of the series, shape (n,); `thresholds` for points that are not near."""
    bin: Array
    """Bin of each near point, shape (near,)."""
    distance: Array
    """Points to the nearest anomalous point, 0 for those, shape (near,)."""
    first: Array
    """Compatibility mode: smallest reach with which a slope covers the point; 0 for anomalous points."""
    second: Array
    """Compatibility mode: smallest reach with which two slopes cover the point."""
    offset: Array
    """Compatibility mode: the point's distance on the slope that covers it first."""

    @classmethod
    def of(cls, scoring: Scoring, reach: int, samples: int, *, compatible: bool) -> _Near:
        count = _COMPATIBILITY_SAMPLES if compatible else min(samples, scoring.n)
        descending = np.linspace(0, scoring.n - 1, count).astype(np.int64)
        descending_thresholds, below = scoring.order.at_ranks(scoring.n - 1 - descending)
        thresholds, predicted = descending_thresholds[::-1], scoring.n - below
        position, previous = _positions_near(scoring, reach)
        near_bin = count - np.searchsorted(thresholds, scoring.scores[position], side="right")
        bins = np.full(scoring.n, count, dtype=np.min_scalar_type(count))
        bins[position] = near_bin
        to_left, to_right = _distances(scoring, position, previous, 2 if compatible else 1)
        distance = np.minimum(to_left[0], to_right[0])
        if compatible:
            first, second, offset = _reaches(distance, to_left, to_right)
        else:
            first = second = offset = distance
        return cls(count, predicted, bins, near_bin, distance, first, second, offset)

    def root_weights(self, reach: int, buffer: int) -> Array:
        """Return the weights of compatibility mode for one buffer size, shape (near,)."""
        weight = np.sqrt(1 - np.minimum(self.offset, reach) / max(buffer, 1))
        weight[(self.first == 0) | (self.second <= reach)] = 1
        weight[self.first > reach] = 0
        return np.asarray(weight)


def _positions_near(scoring: Scoring, reach: int) -> tuple[Array, Array]:
    """Return the positions within `reach` of an anomaly, ascending, and the last anomaly to start by then (or -1)."""
    starts, ends = scoring.anomalies
    low, high = np.maximum(starts - reach, 0), np.minimum(ends + reach, scoring.n)
    high[:-1] = np.minimum(high[:-1], starts[1:])
    low[1:] = np.maximum(low[1:], high[:-1])
    lengths = high - low
    shift = low - np.concatenate(([0], np.cumsum(lengths)[:-1]))
    anomaly = np.repeat(np.arange(len(starts)), lengths)
    position = np.arange(len(anomaly)) + shift[anomaly]
    return position, np.where(position >= starts[anomaly], anomaly, anomaly - 1)


def _distances(scoring: Scoring, position: Array, previous: Array, neighbours: int) -> tuple[list[Array], list[Array]]:
    """Return the distances to the nearest anomalies on the left and on the right; 0 within an anomaly."""
    starts = np.concatenate((np.full(neighbours, -_FAR), scoring.anomalies.starts, np.full(neighbours, _FAR)))
    ends = np.concatenate((np.full(neighbours, -_FAR), scoring.anomalies.ends, np.full(neighbours, _FAR)))
    at = previous + neighbours
    left = [np.maximum(position - ends[at - k] + 1, 0) for k in range(neighbours)]
    right = [starts[at + 1 + k] - position for k in range(neighbours)]
    return left, right


def _reaches(distance: Array, to_left: list[Array], to_right: list[Array]) -> tuple[Array, Array, Array]:
    # A slope to the right of an anomaly is one point shorter, so it takes a greater reach to cover the same distance.
    covered_by = np.stack((to_left[0] + 1, to_right[0], to_left[1] + 1, to_right[1]))
    covered_by.sort(axis=0)
    first, second = covered_by[0], covered_by[1]
    offset = np.where(to_left[0] + 1 <= to_right[0], to_left[0], to_right[0])
    anomalous = distance == 0
    return np.where(anomalous, 0, first), np.where(anomalous, 0, second), np.where(anomalous, 0, offset)


def _linear_masses(near: _Near, reach: int) -> Array:
    """Return the true positives for every reach and threshold, shape (reach + 1, thresholds)."""
    table = np.bincount(near.distance * near.thresholds + near.bin, minlength=(reach + 1) * near.thresholds)
    table = np.cumsum(table.reshape(reach + 1, near.thresholds), axis=1)
    steps = np.arange(reach + 1)[:, np.newaxis]
    return np.asarray(np.cumsum(table, axis=0) - _DROP / np.maximum(steps, 1) * np.cumsum(steps * table, axis=0))


def _root_masses(near: _Near, largest: int) -> Array:
    """Return the true positives of compatibility mode per buffer and threshold, shape (largest + 1, thresholds)."""
    count, reach = near.thresholds, largest // 2
    full = np.bincount(near.bin[near.first == 0], minlength=count).astype(np.float64)
    single = np.flatnonzero((near.first > 0) & (near.second > near.first) & (near.first <= reach))
    entering = _EventTable(near.first[single], near.offset[single], near.bin[single], reach)
    leaving_points = single[near.second[single] <= reach]
    leaving = _EventTable(near.second[leaving_points], near.offset[leaving_points], near.bin[leaving_points], reach)
    doubled = np.flatnonzero((near.first > 0) & (near.second <= reach))
    becoming_full = _EventTable(near.second[doubled], np.zeros_like(doubled), near.bin[doubled], reach)
    on_slope = np.zeros((reach + 1, count))
    masses = np.empty((largest + 1, count))
    for buffer in range(largest + 1):
        slope = buffer // 2
        if buffer % 2 == 0:
            entering.add_to(on_slope, slope, 1)
            leaving.add_to(on_slope, slope, -1)
            becoming_full.add_to(full[np.newaxis], slope, 1)
        masses[buffer] = full
        if buffer > 1:
            weight = np.sqrt(1 - np.arange(slope + 1) / buffer)
            # einsum adds in a fixed order, which a BLAS product does not promise.
            masses[buffer] += np.einsum("j,ji->i", weight, on_slope[: slope + 1])
    return np.asarray(np.cumsum(masses, axis=1))


class _EventTable:
    """Points ordered by the reach at which something happens to them."""

    def __init__(self, at: Array, offset: Array, bin_: Array, reach: int) -> None:
        order = np.argsort(at, kind="stable")
        self.offset, self.bin = offset[order], bin_[order]
        self.bounds = np.searchsorted(at[order], np.arange(reach + 2))

    def add_to(self, table: Array, reach: int, sign: int) -> None:
        """Add the points of one reach to `table[offset, bin]`."""
        begin, end = self.bounds[reach], self.bounds[reach + 1]
        if begin < end:
            np.add.at(table, (self.offset[begin:end], self.bin[begin:end]), sign)


def _found(scoring: Scoring, near: _Near, reach: int) -> Array:
    """Return the share of anomalies with a predicted point, shape (reach + 1, thresholds)."""
    starts, ends = scoring.anomalies
    count = near.thresholds
    padded = _padded(near, reach)
    best = _best_inside(scoring, near)
    beyond = np.append(starts[1:] - ends[:-1], _FAR)
    found = np.empty((reach + 1, count), dtype=np.int64)
    for slope in range(reach + 1):
        if slope:
            np.minimum(best, padded[starts + (reach - slope)], out=best)
            np.minimum(best, padded[ends + (reach + slope - 1)], out=best)
        # An anomaly's window has one point more than its slope, which counts if a neighbour's slope covers it.
        shared = np.flatnonzero(beyond <= 2 * slope)
        reached = best
        if len(shared):
            reached = best.copy()
            reached[shared] = np.minimum(best[shared], padded[ends[shared] + (reach + slope)])
        found[slope] = np.bincount(reached, minlength=count + 1)[:count]
    return np.asarray(np.cumsum(found, axis=1) / len(starts))


def _found_merged(scoring: Scoring, near: _Near, reach: int) -> Array:
    """Return the share of merged anomalies with a predicted point, shape (reach + 1, thresholds)."""
    starts, ends = scoring.anomalies
    count = near.thresholds
    padded = _padded(near, reach)
    best = _best_inside(scoring, near)
    beyond = starts[1:] - ends[:-1]
    found = np.empty((reach + 1, count))
    group_of = np.arange(len(starts))
    for slope in range(reach + 1):
        if slope:
            np.minimum(best, padded[starts + (reach - slope)], out=best)
        if slope > 1:
            np.minimum(best, padded[ends + (reach + slope - 2)], out=best)
        if len(beyond) and slope:
            group_of = np.flatnonzero(np.append(True, beyond > 2 * slope - 1))
        merged = np.minimum.reduceat(best, group_of)
        found[slope] = np.cumsum(np.bincount(merged, minlength=count + 1)[:count]) / len(merged)
    return found


def _padded(near: _Near, reach: int) -> Array:
    """Return the bins with `reach` points more on either side (and one, for the windows' last) that are in no bin."""
    return np.pad(near.bins, (reach, reach + 1), constant_values=near.thresholds)


def _best_inside(scoring: Scoring, near: _Near) -> Array:
    """Return the first bin with a point of each anomaly, shape (anomalies,)."""
    edges = np.stack(scoring.anomalies, axis=1).ravel()
    padded = np.append(near.bins, near.bins.dtype.type(near.thresholds))
    return np.asarray(np.minimum.reduceat(padded, edges)[::2])


def _curves(scoring: Scoring, near: _Near, mass: Array, found: Array) -> Curves:
    """Return the curves from true positives and shares of found anomalies, both of shape (buffers, thresholds)."""
    positives = (scoring.positives + mass[:, -1:]) / 2
    recall = np.minimum(mass / positives, 1) * found
    with np.errstate(invalid="ignore", divide="ignore"):
        false_positive_rate = np.minimum((near.predicted - mass) / (scoring.n - positives), 1)
    return Curves(
        recall=_between(0, recall, 1),
        false_positive_rate=_between(0, false_positive_rate, 1),
        precision=_between(1, mass / near.predicted, 1)[:, :-1],
    )


def _between(first: float, values: Array, last: float) -> Array:
    """Return the rows of `values` with a first and a last column added."""
    rows, columns = values.shape
    framed = np.empty((rows, columns + 2))
    framed[:, 0], framed[:, 1:-1], framed[:, -1] = first, values, last
    return framed
