"""Range-AUC and the volume under the surface: areas whose labels tolerate a shift of the anomaly's borders.

Labels are extended by a slope around each anomaly whose length is half a buffer, recall is weighted with the share of
anomalies that are found at all, and the volume is the mean of the areas over all buffer sizes [1]_.

References
----------
.. [1] J. Paparrizos, P. Boniol, T. Palpanas, R. S. Tsay, A. Elmore, M. J. Franklin: Volume Under the Surface: A New
   Accuracy Evaluation Measure for Time-Series Anomaly Detection. PVLDB 15 (2022), 2774-2787.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from timeeval.metrics.auc import AucMetric
from timeeval.metrics.buffers import Curves, curves_of, curves_up_to
from timeeval.metrics.metric import undefined
from timeeval.metrics.scoring import Scoring, ScoringMetric, runs

if TYPE_CHECKING:
    from timeeval.metrics.metric import Array

_NO_ANOMALY = "no point is labelled anomalous"
_NO_NORMAL_POINT = "all points are labelled anomalous, so there is no false positive rate"


class RangeAucMetric(AucMetric, ScoringMetric):
    """Base of the areas under curves with extended labels.

    Undefined (NaN) when no point is anomalous; the ROC variants also when all are.

    Parameters
    ----------
    buffer_size
        Points by which each anomaly is extended, half of them on either side. None: the median length of the series'
        anomalies, anew for each series.
    compatibility_mode
        Use the slope of the authors' first implementation (square root instead of linear, one point shorter to the
        right, touching anomalies merged) and 250 thresholds.
    max_samples
        Number of thresholds, at most; they are spread evenly over the ranks of the scores.
    plot, plot_store
        Show or write the curve, see `AucMetric`.
    """

    def __init__(
        self,
        buffer_size: int | None = None,
        compatibility_mode: bool = False,
        max_samples: int = 250,
        plot: bool = False,
        plot_store: bool = False,
    ) -> None:
        super().__init__(plot, plot_store)
        if buffer_size is not None and buffer_size < 0:
            raise ValueError(f"buffer_size must not be negative, but is {buffer_size}.")
        _check_samples(max_samples)
        self._buffer_size = buffer_size
        self._compatibility_mode = compatibility_mode
        self._max_samples = max_samples

    @staticmethod
    def anomaly_bounds(y_true: Array) -> tuple[Array, Array]:
        """Return the starts (inclusive) and ends (exclusive) of the anomalies, int64 of shape (anomalies,)."""
        starts, ends = runs(np.asarray(y_true) > 0)
        return starts, ends

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        buffer = self._buffer_size
        if buffer is None:
            lengths = np.sort(scoring.anomalies.lengths)
            buffer = int(lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) // 2
        curves = curves_of(scoring, buffer, self._max_samples, compatible=self._compatibility_mode)
        return self._area(curves)

    @abstractmethod
    def _area(self, curves: Curves) -> float:
        """Return the area under this metric's curve, plotting it if asked."""


class RangePrAUC(RangeAucMetric):
    """Area under the precision-recall curve with extended labels (see `RangeAucMetric` for parameters and source)."""

    @property
    def name(self) -> str:
        """`RANGE_PR_AUC`."""
        return "RANGE_PR_AUC"

    def _area(self, curves: Curves) -> float:
        area = float(curves.pr_areas[0])
        self._draw(curves.recall[0, :-1], curves.precision[0], area, self.name)
        return area


class RangeRocAUC(RangeAucMetric):
    """Area under the ROC curve with extended labels (see `RangeAucMetric` for parameters and source)."""

    @property
    def name(self) -> str:
        """`RANGE_ROC_AUC`."""
        return "RANGE_ROC_AUC"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == scoring.n:
            return undefined(self, _NO_NORMAL_POINT)
        return super().evaluate(scoring)

    def _area(self, curves: Curves) -> float:
        area = float(curves.roc_areas[0])
        self._draw(curves.false_positive_rate[0], curves.recall[0], area, self.name)
        return area


class RangeVusMetric(ScoringMetric):
    """Base of the volumes: means of the areas over all buffer sizes from 0 to the largest.

    Undefined (NaN) when no point is anomalous; the ROC variant also when all are.

    Parameters
    ----------
    max_buffer_size
        Largest buffer, in points.
    compatibility_mode, max_samples
        See `RangeAucMetric`.
    """

    def __init__(self, max_buffer_size: int = 500, compatibility_mode: bool = False, max_samples: int = 250) -> None:
        if max_buffer_size < 0:
            raise ValueError(f"max_buffer_size must not be negative, but is {max_buffer_size}.")
        _check_samples(max_samples)
        self._max_buffer_size = max_buffer_size
        self._compatibility_mode = compatibility_mode
        self._max_samples = max_samples

    def _curves(self, scoring: Scoring) -> Curves:
        return curves_up_to(scoring, self._max_buffer_size, self._max_samples, compatible=self._compatibility_mode)


class RangePrVUS(RangeVusMetric):
    """Volume under the precision-recall surface (see `RangeVusMetric` for parameters and source)."""

    @property
    def name(self) -> str:
        """`RANGE_PR_VOLUME`."""
        return "RANGE_PR_VOLUME"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        return float(np.mean(self._curves(scoring).pr_areas))


class RangeRocVUS(RangeVusMetric):
    """Volume under the ROC surface (see `RangeVusMetric` for parameters and source)."""

    @property
    def name(self) -> str:
        """`RANGE_ROC_VOLUME`."""
        return "RANGE_ROC_VOLUME"

    def evaluate(self, scoring: Scoring) -> float:
        """Compute the metric for one result."""
        if scoring.positives == 0:
            return undefined(self, _NO_ANOMALY)
        if scoring.positives == scoring.n:
            return undefined(self, _NO_NORMAL_POINT)
        return float(np.mean(self._curves(scoring).roc_areas))


def _check_samples(max_samples: int) -> None:
    if max_samples < 2:
        raise ValueError(f"max_samples must be at least 2, but is {max_samples}.")
