"""Range-based precision, recall and F-score of predictions, and those of the k best ranges [1]_.

References
----------
.. [1] N. Tatbul, T. J. Lee, S. Zdonik, M. Alam, J. Gottschlich: Precision and Recall for Time Series. NeurIPS 2018.
"""

from __future__ import annotations

import numpy as np

from timeeval.metrics.metric import Array, undefined
from timeeval.metrics.ranges import Reward, range_precision_recall
from timeeval.metrics.scoring import Scoring, ScoringMetric
from timeeval.metrics.thresholding import (
    NoThresholding,
    ThresholdingStrategy,
    TopKRangesThresholding,
    top_k_ranges_threshold,
)

_NO_ANOMALY = "no point is labelled anomalous, so there is no real range"
_NO_PREDICTION = "no point is predicted to be anomalous, so there is no predicted range"


class _RangeMetric(ScoringMetric):
    """What the range-based metrics have in common: a strategy and a name."""

    def __init__(self, thresholding_strategy: ThresholdingStrategy | None, name: str) -> None:
        self._thresholding_strategy = NoThresholding() if thresholding_strategy is None else thresholding_strategy
        self._name = name

    @property
    def name(self) -> str:
        """The name given to the constructor."""
        return self._name

    def supports_continuous_scorings(self) -> bool:
        """Whether the metric takes scores: unless its strategy is `NoThresholding`."""
        return not isinstance(self._thresholding_strategy, NoThresholding)

    def _precision_recall(self, scoring: Scoring, p: Reward, r: Reward) -> tuple[float, float]:
        predictions = self._thresholding_strategy.fit_transform(scoring.y_true, scoring.scores)
        return precision_recall(scoring, np.asarray(predictions) > 0, p, r)


class RangePrecision(_RangeMetric):
    """Range-based precision: mean reward of the predicted ranges for the real ranges they meet [1]_.

    Undefined (NaN) when no point is predicted, and when none is anomalous.

    Parameters
    ----------
    thresholding_strategy
        How scores become predictions; default: the metric takes predictions (integers or bool).
    alpha
        Weight of meeting any range at all, from 0 to 1.
    cardinality
        Factor for several overlaps: `one`, `reciprocal` or `udf_gamma`.
    bias
        Weight of a range's positions: `flat`, `front`, `middle` or `back`.
    name
        Name of the metric.

    References
    ----------
    .. [1] N. Tatbul, T. J. Lee, S. Zdonik, M. Alam, J. Gottschlich: Precision and Recall for Time Series.
       NeurIPS 2018.
    """

    def __init__(
        self,
        thresholding_strategy: ThresholdingStrategy | None = None,
        alpha: float = 0,
        cardinality: str = "reciprocal",
        bias: str = "flat",
        name: str = "RANGE_PRECISION",
    ) -> None:
        super().__init__(thresholding_strategy, name)
        self._reward = Reward(alpha, cardinality, bias)

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        precision, _ = self._precision_recall(scoring, self._reward, self._reward)
        return undefined(self, _NO_PREDICTION) if np.isnan(precision) else precision


class RangeRecall(_RangeMetric):
    """Range-based recall: mean reward of the real ranges for the predicted ranges they meet.

    Undefined (NaN) when no point is anomalous. For parameters and source see `RangePrecision`.
    """

    def __init__(
        self,
        thresholding_strategy: ThresholdingStrategy | None = None,
        alpha: float = 0,
        cardinality: str = "reciprocal",
        bias: str = "flat",
        name: str = "RANGE_RECALL",
    ) -> None:
        super().__init__(thresholding_strategy, name)
        self._reward = Reward(alpha, cardinality, bias)

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        return self._precision_recall(scoring, self._reward, self._reward)[1]


class RangeFScore(_RangeMetric):
    """Weighted harmonic mean of range-based precision and recall.

    Undefined (NaN) when no point is anomalous, and when none is predicted; 0.0 when nothing overlaps.

    Parameters
    ----------
    thresholding_strategy
        How scores become predictions; default: the metric takes predictions (integers or bool).
    beta
        Weight of recall against precision, greater than 0.
    p_alpha, r_alpha
        Weight of meeting any range at all, in precision and recall, from 0 to 1.
    cardinality
        Factor for several overlaps: `one`, `reciprocal` or `udf_gamma`.
    p_bias, r_bias
        Weight of a range's positions in precision and recall: `flat`, `front`, `middle` or `back`.
    name
        Name of the metric; default: `RANGE_F<beta>_SCORE`.
    """

    def __init__(  # noqa: PLR0917  TimeEval 1.5's signature
        self,
        thresholding_strategy: ThresholdingStrategy | None = None,
        beta: float = 1,
        p_alpha: float = 0,
        r_alpha: float = 0.5,
        cardinality: str = "reciprocal",
        p_bias: str = "flat",
        r_bias: str = "flat",
        name: str | None = None,
    ) -> None:
        super().__init__(thresholding_strategy, f"RANGE_F{beta:.2f}_SCORE" if name is None else name)
        if beta <= 0:
            raise ValueError(f"beta must be greater than 0, but is {beta}.")
        self._beta = beta
        self._p_reward = Reward(p_alpha, cardinality, p_bias)
        self._r_reward = Reward(r_alpha, cardinality, r_bias)

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        precision, recall = self._precision_recall(scoring, self._p_reward, self._r_reward)
        return undefined(self, _NO_PREDICTION) if np.isnan(precision) else f_score(precision, recall, self._beta)


class PrecisionAtK(ScoringMetric):
    """Share of the predicted ranges that meet an anomaly, at the highest score with at least k predicted ranges.

    That is `RangePrecision` [1]_ with an alpha of 1. Undefined (NaN) when no point is anomalous.

    Parameters
    ----------
    k
        Number of ranges to predict; None: as many as the series has anomalous ranges. See `TopKRangesThresholding`.
    """

    def __init__(self, k: int | None = None) -> None:
        self._k = _checked_k(k)

    @property
    def name(self) -> str:
        """`PRECISION@K(<k>)`."""
        return f"PRECISION@K({self._k})"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        return _at_k(scoring, self._k)[0]


class FScoreAtK(ScoringMetric):
    """Harmonic mean of the shares of predicted and of real ranges that meet one of the other side, as `PrecisionAtK`.

    That is `RangeFScore` [1]_ with alphas of 1. Undefined (NaN) when no point is anomalous.

    Parameters
    ----------
    k
        Number of ranges to predict; None: as many as the series has anomalous ranges. See `TopKRangesThresholding`.
    """

    def __init__(self, k: int | None = None) -> None:
        self._k = _checked_k(k)

    @property
    def name(self) -> str:
        """`F_SCORE@K(<k>)`."""
        return f"F_SCORE@K({self._k})"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        return f_score(*_at_k(scoring, self._k), beta=1)


def precision_recall(scoring: Scoring, predictions: Array, p: Reward, r: Reward) -> tuple[float, float]:
    """Return range-based precision (NaN without a prediction) and recall of bool `predictions`, shape (n,)."""
    curve = range_precision_recall(predictions.view(np.uint8), 1, scoring.anomalies, p, r)
    return float(curve.precision[0]), float(curve.recall[0])


def f_score(precision: float, recall: float, beta: float) -> float:
    """Return (1 + beta²) P R / (beta² P + R), or 0.0 if both are 0."""
    if precision + recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _at_k(scoring: Scoring, k: int | None) -> tuple[float, float]:
    threshold = top_k_ranges_threshold(scoring, len(scoring.anomalies.starts) if k is None else k)
    met = Reward(alpha=1, cardinality="reciprocal", bias="flat")
    return precision_recall(scoring, scoring.scores >= threshold, met, met)


def _checked_k(k: int | None) -> int | None:
    TopKRangesThresholding(k)
    return k
