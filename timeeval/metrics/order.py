"""Ranks among the scores of a series, with as little sorting as the question allows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array

_FEW = 1 << 15
"""Number of scores up to which sorting them all is quickest."""


class Order:
    """The order of finite scores.

    Most metrics ask for the ranks of some scores only. Then the scores are dealt into buckets of equal width, and
    only those in buckets that are asked for are sorted. Whoever needs all of them sorted (`ascending`) spares the
    others this. Every answer is exact.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        At least one score, all finite.
    """

    def __init__(self, scores: Array) -> None:
        self.scores = scores
        self.n = len(scores)

    @cached_property
    def ascending(self) -> Array:
        """All scores, sorted, shape (n,)."""
        # Sorting values is several times faster than argsort: numpy has vector instructions for it.
        return np.sort(self.scores)

    @cached_property
    def lowest(self) -> float:
        """The smallest score."""
        return float(self.scores.min())

    @cached_property
    def top(self) -> float:
        """The largest score."""
        return float(self.scores.max())

    @cached_property
    def distinct(self) -> Array:
        """The distinct scores, ascending."""
        ascending = self.ascending
        is_first = firsts(ascending)
        return ascending if is_first.all() else ascending[is_first]

    def highest(self, count: int) -> Array:
        """Return the `count` highest scores and all that equal the lowest of them, sorted."""
        if not self._is_sorted and 4 * count < self.n:
            least = np.partition(self.scores, self.n - count)[self.n - count]
            return np.sort(self.scores[self.scores >= least])
        if count >= self.n:
            return self.ascending
        first = np.searchsorted(self.ascending, self.ascending[self.n - count], side="left")
        return self.ascending[first:]

    def at_ranks(self, ranks: Array) -> tuple[Array, Array]:
        """Return the scores at `ranks` (ints from 0, the lowest, to n - 1) and how many scores are below each."""
        buckets = self._buckets
        if buckets is None:
            values = self.ascending[ranks]
            return values, np.searchsorted(self.ascending, values, side="left")
        wanted = np.searchsorted(buckets.before, ranks, side="right") - 1
        members, shift = buckets.members(self.scores, wanted)
        values = members[ranks - shift[wanted]]
        return values, np.searchsorted(members, values, side="left") + shift[wanted]

    def counts(self, values: Array) -> tuple[Array, Array]:
        """Return how many scores are below each of `values` and how many are not above it.

        Parameters
        ----------
        values
            Some of the scores.
        """
        buckets = self._buckets
        if buckets is None:
            return _both_sides(self.ascending, values)
        wanted = buckets.of(values)
        members, shift = buckets.members(self.scores, wanted)
        below, up_to = _both_sides(members, values)
        return below + shift[wanted], up_to + shift[wanted]

    def levels(self, thresholds: Array) -> Array:
        """Return for every score how many of the `thresholds` it reaches, shape (n,), smallest unsigned dtype.

        Parameters
        ----------
        thresholds : ndarray of shape (T,)
            Some of the scores, distinct and ascending.
        """
        kind = np.min_scalar_type(len(thresholds))
        buckets = self._dealt if self.n > _FEW else None
        if buckets is None:
            return np.searchsorted(thresholds, self.scores, side="right").astype(kind)
        # Only scores that share a bucket with a threshold have to be compared with any.
        shared = buckets.of(thresholds)
        count = np.bincount(shared, minlength=len(buckets.sizes))
        levels = np.cumsum(count).astype(kind)[buckets.bucket]
        unsure = np.flatnonzero((count > 0)[buckets.bucket])
        levels[unsure] = np.searchsorted(thresholds, self.scores[unsure], side="right")
        return np.asarray(levels)

    @property
    def _is_sorted(self) -> bool:
        return "ascending" in self.__dict__

    @property
    def _buckets(self) -> _Buckets | None:
        """The buckets, unless the scores are sorted already or had better be."""
        if self._is_sorted or self.n <= _FEW:
            return None
        return self._dealt

    @cached_property
    def _dealt(self) -> _Buckets | None:
        if self.scores.dtype not in (np.float32, np.float64):
            return None
        # A dozen scores to a bucket, and tables that fit into the processor's cache.
        count = 1 << max(self.n.bit_length() - 4, 1)
        span = self.top - self.lowest
        limits = np.finfo(self.scores.dtype)
        # Neither the distances nor the width of a bucket may overflow or vanish in the scores' own precision.
        if not 0 < span < limits.max / 2 or not limits.tiny < count / span < limits.max:
            return None
        buckets = _Buckets(self.scores, self.lowest, count / span, count)
        # Where most scores share a bucket, dealing them has not helped.
        return buckets if buckets.largest < self.n // 4 else None


class _Buckets:
    """Scores dealt into buckets by a function that never falls, so that buckets are in the order of their scores."""

    def __init__(self, scores: Array, lowest: float, scale: float, count: int) -> None:
        self._lowest, self._scale = scores.dtype.type(lowest), scores.dtype.type(scale)
        self.bucket = self.of(scores)
        self.sizes = np.bincount(self.bucket, minlength=count + 1)
        self.largest = int(self.sizes.max())
        self.before = np.cumsum(self.sizes) - self.sizes
        """Number of scores in lower buckets, shape (buckets,)."""

    def of(self, values: Array) -> Array:
        """Return the buckets of `values`, shape (values,)."""
        place = values - self._lowest
        place *= self._scale
        return np.asarray(place.astype(np.intp))

    def members(self, scores: Array, wanted: Array) -> tuple[Array, Array]:
        """Return the sorted scores of all `wanted` buckets and, per bucket, what to add to their index for the rank."""
        is_wanted = np.zeros(len(self.sizes), dtype=bool)
        is_wanted[wanted] = True
        members = np.sort(scores[is_wanted[self.bucket]])
        sizes = np.where(is_wanted, self.sizes, 0)
        return members, self.before - (np.cumsum(sizes) - sizes)


def firsts(ascending: Array) -> Array:
    """Return a mask of the first of each group of equal values in a sorted array, shape (n,)."""
    is_first = np.ones(len(ascending), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=is_first[1:])
    return is_first


def _both_sides(ascending: Array, values: Array) -> tuple[Array, Array]:
    return np.searchsorted(ascending, values, side="left"), np.searchsorted(ascending, values, side="right")
