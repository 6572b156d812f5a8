"""Metrics: how well anomaly scores or predictions agree with the labels of a time series."""

from timeeval.metrics.auc import AucMetric, AveragePrecision, PrAUC, RocAUC
from timeeval.metrics.default import DefaultMetrics
from timeeval.metrics.metric import Metric
from timeeval.metrics.range_auc import RangePrecisionRangeRecallAUC
from timeeval.metrics.range_metrics import FScoreAtK, PrecisionAtK, RangeFScore, RangePrecision, RangeRecall
from timeeval.metrics.scoring import score_all, score_each

__all__ = [
    "AucMetric",
    "AveragePrecision",
    "DefaultMetrics",
    "FScoreAtK",
    "Metric",
    "PrAUC",
    "PrecisionAtK",
    "RangeFScore",
    "RangePrecision",
    "RangePrecisionRangeRecallAUC",
    "RangeRecall",
    "RocAUC",
    "score_all",
    "score_each",
]
