"""The metrics that TimeEval offers ready-made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from timeeval.metrics.auc import AveragePrecision, PrAUC, RocAUC
from timeeval.metrics.range_auc import RangePrecisionRangeRecallAUC
from timeeval.metrics.range_metrics import RangeFScore, RangePrecision, RangeRecall

if TYPE_CHECKING:
    from timeeval.metrics.metric import Metric


class DefaultMetrics:
    """Ready-made metric objects, as class attributes.

    `RANGE_PR_AUC` rewards overlap alone; `FIXED_RANGE_PR_AUC` rewards, in recall, also that an anomaly is found at all
    and, in both, that it is found in one piece. `RANGE_PRECISION`, `RANGE_RECALL` and `RANGE_F1` take predictions.
    """

    ROC_AUC: ClassVar[Metric] = RocAUC()
    PR_AUC: ClassVar[Metric] = PrAUC()
    RANGE_PR_AUC: ClassVar[Metric] = RangePrecisionRangeRecallAUC(
        max_samples=50, r_alpha=0, cardinality="one", bias="flat"
    )
    AVERAGE_PRECISION: ClassVar[Metric] = AveragePrecision()
    RANGE_PRECISION: ClassVar[Metric] = RangePrecision()
    RANGE_RECALL: ClassVar[Metric] = RangeRecall()
    RANGE_F1: ClassVar[Metric] = RangeFScore(beta=1)
    FIXED_RANGE_PR_AUC: ClassVar[Metric] = RangePrecisionRangeRecallAUC(name="FIXED_RANGE_PR_AUC")

    @staticmethod
    def default() -> Metric:
        """Return the metric that is used where one is needed: ROC_AUC."""
        return DefaultMetrics.ROC_AUC

    @staticmethod
    def default_list() -> list[Metric]:
        """Return the metrics that TimeEval computes unless told otherwise: ROC_AUC alone."""
        return [DefaultMetrics.ROC_AUC]
