"""Point-adjusted F1: an anomaly counts as found entirely when one of its points is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from timeeval.metrics.classification import ThresholdedMetric, confusion
from timeeval.metrics.metric import undefined

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array
    from timeeval.metrics.scoring import Ranges, Scoring


class PointAdjustedF1(ThresholdedMetric):
    """F1 of points after all points of every anomaly with a predicted point were predicted, too [1]_.

    Mind that long anomalies make this value high even for random scores [2]_. Undefined (NaN) when no point is
    predicted or anomalous.

    Parameters
    ----------
    thresholding_strategy
        How scores become predictions; with `NoThresholding` the metric takes predictions (integers or bool).

    References
    ----------
    .. [1] H. Xu et al.: Unsupervised Anomaly Detection via Variational Auto-Encoder for Seasonal KPIs in Web
       Applications. WWW 2018, 187-196.
    .. [2] S. Kim, K. Choi, H.-S. Choi, B. Lee, S. Yoon: Towards a Rigorous Evaluation of Time-Series Anomaly
       Detection. AAAI 2022, 7194-7201.
    """

    @property
    def name(self) -> str:
        """`PointAdjustedF1_<strategy>`."""
        return f"PointAdjustedF1_{self._thresholding_strategy}"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        adjusted = _adjusted(self.predictions(scoring), scoring.anomalies)
        hits, false_alarms, misses = confusion(scoring.labels, adjusted)
        if hits + false_alarms + misses == 0:
            return undefined(self, "no point is labelled anomalous and none is predicted to be")
        return 2 * hits / (2 * hits + false_alarms + misses)


def _adjusted(predictions: Array, anomalies: Ranges) -> Array:
    """Return the bool predictions with every anomaly that has one filled, shape (n,)."""
    before = np.concatenate(([0], np.cumsum(predictions)))
    found = before[anomalies.ends] > before[anomalies.starts]
    # +1 where a found anomaly starts and -1 behind its end: the running sum is 1 within.
    steps = np.zeros(len(predictions) + 1, dtype=np.int8)
    steps[anomalies.starts[found]] = 1
    steps[anomalies.ends[found]] = -1
    return np.asarray(predictions | (np.cumsum(steps[:-1], dtype=np.int8) > 0))
