"""Point-wise precision, recall and F1 of thresholded scores [1]_.

References
----------
.. [1] C. J. van Rijsbergen: Information Retrieval, 2nd edition. Butterworths 1979, chapter 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from timeeval.metrics.metric import undefined
from timeeval.metrics.scoring import Scoring, ScoringMetric
from timeeval.metrics.thresholding import NoThresholding, ThresholdingStrategy

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array


class Confusion(NamedTuple):
    """Counts of points: predicted and anomalous, predicted only, anomalous only."""

    hits: int
    false_alarms: int
    misses: int


def confusion(labels: Array, predictions: Array) -> Confusion:
    """Count the points of two bool arrays of shape (n,)."""
    hits = int(np.count_nonzero(labels & predictions))
    return Confusion(hits, int(np.count_nonzero(predictions)) - hits, int(np.count_nonzero(labels)) - hits)


class ThresholdedMetric(ScoringMetric):
    """Base of metrics that compare predictions with labels.

    Parameters
    ----------
    thresholding_strategy
        How scores become predictions; with `NoThresholding` the metric takes predictions (integers or bool).
    """

    def __init__(self, thresholding_strategy: ThresholdingStrategy) -> None:
        self._thresholding_strategy = thresholding_strategy

    def supports_continuous_scorings(self) -> bool:
        """Whether the metric takes scores: unless its strategy is `NoThresholding`."""
        return not isinstance(self._thresholding_strategy, NoThresholding)

    def predictions(self, scoring: Scoring) -> Array:
        """Return the predictions for one result as a bool array of shape (n,)."""
        return np.asarray(self._thresholding_strategy.fit_transform(scoring.y_true, scoring.scores)) > 0


class Precision(ThresholdedMetric):
    """Share of the predicted points that are anomalous. Undefined (NaN) when no point is predicted."""

    @property
    def name(self) -> str:
        """`Precision_<strategy>`."""
        return f"Precision_{self._thresholding_strategy}"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        hits, false_alarms, _ = confusion(scoring.labels, self.predictions(scoring))
        if hits + false_alarms == 0:
            return undefined(self, "no point is predicted to be anomalous")
        return hits / (hits + false_alarms)


class Recall(ThresholdedMetric):
    """Share of the anomalous points that are predicted. Undefined (NaN) when no point is anomalous."""

    @property
    def name(self) -> str:
        """`Recall_<strategy>`."""
        return f"Recall_{self._thresholding_strategy}"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        hits, _, misses = confusion(scoring.labels, self.predictions(scoring))
        if hits + misses == 0:
            return undefined(self, "no point is labelled anomalous")
        return hits / (hits + misses)


class F1Score(ThresholdedMetric):
    """Harmonic mean of precision and recall of points.

    Computed as 2·hits / (2·hits + false alarms + misses). Undefined (NaN) when no point is predicted or anomalous.
    """

    @property
    def name(self) -> str:
        """`F1Score_<strategy>`."""
        return f"F1Score_{self._thresholding_strategy}"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        hits, false_alarms, misses = confusion(scoring.labels, self.predictions(scoring))
        if hits + false_alarms + misses == 0:
            return undefined(self, "no point is labelled anomalous and none is predicted to be")
        return 2 * hits / (2 * hits + false_alarms + misses)
