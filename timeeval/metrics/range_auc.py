"""Area under the curve of range-based precision over range-based recall."""

from __future__ import annotations

import numpy as np

from timeeval.metrics.auc import AucMetric
from timeeval.metrics.metric import Array, trapezoid, undefined
from timeeval.metrics.ranges import Reward, range_precision_recall
from timeeval.metrics.scoring import Scoring, ScoringMetric


class RangePrecisionRangeRecallAUC(AucMetric, ScoringMetric):
    """Area under the range-based precision-recall curve [1]_.

    Thresholds are the distinct scores without the smallest; of more than `max_samples`, every k-th one and the
    largest, so that there are at most about two times `max_samples`. The curve starts at recall 1 with the share of
    anomalous points as precision and ends at recall 0 with precision 1. Undefined (NaN) when no point is anomalous.

    Parameters
    ----------
    max_samples
        Number of thresholds to aim for.
    r_alpha, p_alpha
        Weight of meeting any range at all in recall and precision, from 0 to 1.
    cardinality
        Factor for several overlaps: `one`, `reciprocal` or `udf_gamma`.
    bias
        Weight of a range's positions: `flat`, `front`, `middle` or `back`.
    plot, plot_store
        Show or write the curve, see `AucMetric`.
    name
        Name of the metric.

    References
    ----------
    .. [1] N. Tatbul, T. J. Lee, S. Zdonik, M. Alam, J. Gottschlich: Precision and Recall for Time Series.
       NeurIPS 2018.
    """

    sorts_all = True

    def __init__(  # noqa: PLR0917  TimeEval 1.5's signature
        self,
        max_samples: int = 50,
        r_alpha: float = 0.5,
        p_alpha: float = 0,
        cardinality: str = "reciprocal",
        bias: str = "flat",
        plot: bool = False,
        plot_store: bool = False,
        name: str = "RANGE_PR_AUC",
    ) -> None:
        super().__init__(plot, plot_store)
        if max_samples < 2:
            raise ValueError(f"max_samples must be at least 2, but is {max_samples}.")
        self._max_samples = max_samples
        self._r_alpha = r_alpha
        self._p_alpha = p_alpha
        self._cardinality = cardinality
        self._bias = bias
        self._name = name
        self._rewards()

    @property
    def name(self) -> str:
        """The name given to the constructor."""
        return self._name

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, "no point is labelled anomalous, so there is no real range")
        recall, precision = self._curve(scoring)
        area = trapezoid(precision, recall)
        self._draw(recall, precision, area, "_range_precision_recall_curve")
        return area

    def _rewards(self) -> tuple[Reward, Reward]:
        return (
            Reward(self._p_alpha, self._cardinality, self._bias),
            Reward(self._r_alpha, self._cardinality, self._bias),
        )

    def _curve(self, scoring: Scoring) -> tuple[Array, Array]:
        thresholds = self._thresholds(scoring.order.distinct)
        levels = scoring.order.levels(thresholds)
        curve = range_precision_recall(levels, len(thresholds), scoring.anomalies, *self._rewards())
        # The curve has the dtype of the scores, as in TimeEval 1.5: with float32 its rounding breaks ties.
        kind = thresholds.dtype
        precision, recall = (values.astype(kind) for values in curve)
        order = np.lexsort((-precision, recall))[::-1]
        return (
            np.concatenate(([1.0], recall[order], [0.0]), dtype=kind),
            np.concatenate(([scoring.positives / scoring.n], precision[order], [1.0]), dtype=kind),
        )

    def _thresholds(self, distinct: Array) -> Array:
        candidates = distinct[1:]
        if len(candidates) <= self._max_samples:
            return candidates
        sampled = candidates[:: len(candidates) // (self._max_samples - 1)]
        return sampled if sampled[-1] == candidates[-1] else np.append(sampled, candidates[-1])
