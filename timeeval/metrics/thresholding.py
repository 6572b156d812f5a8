"""Strategies that turn anomaly scores into predictions by a threshold."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from timeeval.metrics.order import firsts
from timeeval.metrics.scoring import Scoring, runs

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array


class ThresholdingStrategy(ABC):
    """Base of all strategies: how the threshold above which points are predicted to be anomalous is found.

    Attributes
    ----------
    threshold
        The threshold found by the last `fit`; None before. Every `fit` replaces it and none depends on an earlier one.
    """

    def __init__(self) -> None:
        self.threshold: float | None = None

    def fit(self, y_true: Array, y_score: Array) -> None:
        """Find the threshold for one series.

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels, 0 or 1.
        y_score : ndarray of shape (n,)
            Scores.
        """
        self.threshold = self.find_threshold(y_true, y_score)

    def transform(self, y_score: Array) -> Array:
        """Return 1 for every score that reaches the threshold and else 0, shape (n,), int64.

        Raises
        ------
        ValueError
            If `fit` was not called before.
        """
        if self.threshold is None:
            raise ValueError(f"{self!r} has no threshold yet: call fit first.")
        return np.asarray(y_score >= self.threshold, dtype=np.int64)

    def fit_transform(self, y_true: Array, y_score: Array) -> Array:
        """Find the threshold for one series and return its predictions.

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels, 0 or 1.
        y_score : ndarray of shape (n,)
            Scores.

        Returns
        -------
        ndarray of shape (n,), int64
            1 where the score reaches the threshold.
        """
        self.fit(y_true, y_score)
        return self.transform(y_score)

    @abstractmethod
    def find_threshold(self, y_true: Array, y_score: Array) -> float:
        """Return the threshold for one series; the one method that a strategy of your own needs.

        Parameters
        ----------
        y_true : ndarray of shape (n,)
            Labels, 0 or 1.
        y_score : ndarray of shape (n,)
            Scores.
        """


class NoThresholding(ThresholdingStrategy):
    """Takes predictions as they are and refuses scores."""

    def fit(self, y_true: Array, y_score: Array) -> None:
        """Do nothing."""

    def transform(self, y_score: Array) -> Array:
        """Return the predictions unchanged.

        Raises
        ------
        ValueError
            If `y_score` holds neither integers nor bool.
        """
        if y_score.dtype.kind not in "iub":
            raise ValueError(
                f"Continuous anomaly scorings are not supported by NoThresholding, but the dtype is {y_score.dtype}: "
                "use another thresholding strategy."
            )
        return y_score

    def find_threshold(self, y_true: Array, y_score: Array) -> float:  # noqa: ARG002
        """Return 0.5, which separates 0 from 1."""
        return 0.5

    def __repr__(self) -> str:
        return "NoThresholding()"


class FixedValueThresholding(ThresholdingStrategy):
    """The same threshold for all series.

    Parameters
    ----------
    threshold
        From 0 to 1; scores are scaled to this range before metrics are computed.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, but is {threshold}.")
        self.threshold = threshold
        self._fixed = threshold

    def find_threshold(self, y_true: Array, y_score: Array) -> float:  # noqa: ARG002
        """Return the fixed threshold."""
        return self._fixed

    def __repr__(self) -> str:
        return f"FixedValueThresholding(threshold={self._fixed!r})"


class PercentileThresholding(ThresholdingStrategy):
    """A percentile of the scores, NaN left out (linear interpolation).

    Parameters
    ----------
    percentile
        From 0 to 100.
    """

    def __init__(self, percentile: float = 90) -> None:
        super().__init__()
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile must be between 0 and 100, but is {percentile}.")
        self._percentile = percentile

    def find_threshold(self, y_true: Array, y_score: Array) -> float:  # noqa: ARG002
        """Return the percentile of the scores."""
        return float(np.nanpercentile(y_score, self._percentile))

    def __repr__(self) -> str:
        return f"PercentileThresholding(percentile={self._percentile!r})"


class TopKPointsThresholding(ThresholdingStrategy):
    """The percentile above which k points lie.

    Parameters
    ----------
    k
        Number of points to predict; None: as many as the series has anomalous points.
    """

    def __init__(self, k: int | None = None) -> None:
        super().__init__()
        _check_k(k)
        self._k = k

    def find_threshold(self, y_true: Array, y_score: Array) -> float:
        """Return the percentile of the scores that leaves k of them above."""
        k = int(np.count_nonzero(y_true)) if self._k is None else self._k
        # A k beyond the number of points means all of them.
        return float(np.nanpercentile(y_score, max(0.0, (1 - k / len(y_score)) * 100)))

    def __repr__(self) -> str:
        return f"TopKPointsThresholding(k={self._k!r})"


class TopKRangesThresholding(ThresholdingStrategy):
    """The highest score at which at least k ranges are predicted.

    Candidates are the distinct scores in descending order, without the largest and the smallest. When none of them
    gives k ranges it is the lowest candidate, and when there is none (fewer than three distinct scores) the largest
    score.

    Parameters
    ----------
    k
        Number of ranges to predict; None: as many as the series has anomalous ranges.
    """

    def __init__(self, k: int | None = None) -> None:
        super().__init__()
        _check_k(k)
        self._k = k

    def find_threshold(self, y_true: Array, y_score: Array) -> float:
        """Return the threshold for one series (a NaN score is never part of a predicted range)."""
        k = len(runs(np.asarray(y_true) > 0).starts) if self._k is None else self._k
        scores = np.asarray(y_score)
        missing = np.isnan(scores) if scores.dtype.kind == "f" else np.zeros(len(scores), dtype=bool)
        if missing.all():
            return float("nan")
        if not missing.any():
            return top_k_ranges_threshold(Scoring(np.zeros(len(scores)), scores), k)
        lowest = np.full(len(scores), -np.inf)
        np.copyto(lowest, scores, where=~missing)
        return top_k_ranges_threshold(Scoring(np.zeros(len(scores)), lowest), k, floor=scores[~missing].min())

    def __repr__(self) -> str:
        return f"TopKRangesThresholding(k={self._k!r})"


class SigmaThresholding(ThresholdingStrategy):
    """Mean of the scores plus a multiple of their standard deviation, NaN left out.

    Parameters
    ----------
    factor
        Number of standard deviations, greater than 0.
    """

    def __init__(self, factor: float = 3.0) -> None:
        super().__init__()
        if factor <= 0:
            raise ValueError(f"factor must be greater than 0, but is {factor}.")
        self._factor = factor

    def find_threshold(self, y_true: Array, y_score: Array) -> float:  # noqa: ARG002
        """Return mean plus `factor` standard deviations (population, ddof 0)."""
        return float(np.nanmean(y_score) + self._factor * np.nanstd(y_score))

    def __repr__(self) -> str:
        return f"SigmaThresholding(factor={self._factor!r})"


class PyThreshThresholder(Protocol):
    """What `PyThreshThresholding` needs of a thresholder."""

    thresh_: float

    def eval(self, scores: Array) -> Array:
        """Return 0/1 predictions, shape (n,), and set `thresh_`."""


class PyThreshThresholding(ThresholdingStrategy):
    """A thresholder of the PyThresh library. NaN counts as 0 and infinity as 1.

    Parameters
    ----------
    pythresh_thresholder
        Object with `eval(scores)`, which returns 0/1 predictions, and `thresh_`, its threshold.
    random_state
        Deprecated and without effect: give it to the thresholder itself.
    """

    def __init__(self, pythresh_thresholder: PyThreshThresholder, random_state: object = None) -> None:
        super().__init__()
        if random_state is not None:
            warnings.warn(
                "The random_state parameter is deprecated and has no effect: give it to the PyThresh object itself.",
                DeprecationWarning,
                stacklevel=2,
            )
        self._thresholder = pythresh_thresholder
        self._predictions: Array | None = None

    def find_threshold(self, y_true: Array, y_score: Array) -> float:  # noqa: ARG002
        """Let the thresholder decide; its predictions are kept for `fit_transform`."""
        scores = np.nan_to_num(np.asarray(y_score, dtype=np.float64), nan=0.0, posinf=1.0, neginf=1.0)
        self._predictions = np.asarray(self._thresholder.eval(scores), dtype=np.int64)
        return float(np.squeeze(self._thresholder.thresh_))

    def fit_transform(self, y_true: Array, y_score: Array) -> Array:
        """Return the thresholder's own predictions for one series."""
        self.fit(y_true, y_score)
        if self._predictions is None:
            raise ValueError(f"{self!r} made no predictions.")
        return self._predictions

    def __repr__(self) -> str:
        return f"PyThreshThresholding(pythresh_thresholding={self._thresholder!r})"


def top_k_ranges_threshold(scoring: Scoring, k: int, floor: float | None = None) -> float:
    """Return the threshold of `TopKRangesThresholding` for one result.

    The number of ranges at a threshold is the number of points that reach it less that of neighbours that both do.
    It can fall as well as rise with a falling threshold, so the search goes down from the top; as it seldom goes far,
    it begins with the highest scores alone.

    Parameters
    ----------
    scoring
        The result; its labels are not used.
    k
        Number of ranges.
    floor
        The smallest score that counts as such; None: the smallest of all.
    """
    floor = scoring.order.lowest if floor is None else floor
    size = 1024
    while True:
        highest = scoring.order.highest(size)
        at = np.flatnonzero(firsts(highest))
        at = at[(highest[at] > floor) & (highest[at] < highest[-1])]
        candidates = highest[at]
        pairs = np.sort(scoring.pair_minima[scoring.pair_minima >= highest[0]])
        ranges = (len(highest) - at) - (len(pairs) - np.searchsorted(pairs, candidates, side="left"))
        hits = np.flatnonzero(ranges >= k)
        if len(hits):
            return float(candidates[hits[-1]])
        if len(highest) == scoring.n:
            return float(candidates[0] if len(candidates) else highest[-1])
        size *= 8


def _check_k(k: int | None) -> None:
    if k is not None and k <= 0:
        raise ValueError(f"k must be greater than 0, but is {k}.")
