"""Metrics: how well anomaly scores or predictions agree with the labels of a time series."""

from timeeval.metrics.affiliation import AffiliationFScore, AffiliationPrecision, AffiliationRecall
from timeeval.metrics.auc import AucMetric, AveragePrecision, PrAUC, RocAUC
from timeeval.metrics.classification import F1Score, Precision, Recall
from timeeval.metrics.default import DefaultMetrics
from timeeval.metrics.metric import Metric
from timeeval.metrics.point_adjusted import PointAdjustedF1
from timeeval.metrics.range_auc import RangePrecisionRangeRecallAUC
from timeeval.metrics.range_metrics import FScoreAtK, PrecisionAtK, RangeFScore, RangePrecision, RangeRecall
from timeeval.metrics.scoring import column_names, score_all, score_each
from timeeval.metrics.vus import RangePrAUC, RangePrVUS, RangeRocAUC, RangeRocVUS

__all__ = [
    "AffiliationFScore",
    "AffiliationPrecision",
    "AffiliationRecall",
    "AucMetric",
    "AveragePrecision",
    "DefaultMetrics",
    "F1Score",
    "FScoreAtK",
    "Metric",
    "PointAdjustedF1",
    "PrAUC",
    "Precision",
    "PrecisionAtK",
    "RangeFScore",
    "RangePrAUC",
    "RangePrVUS",
    "RangePrecision",
    "RangePrecisionRangeRecallAUC",
    "RangeRecall",
    "RangeRocAUC",
    "RangeRocVUS",
    "Recall",
    "RocAUC",
    "column_names",
    "score_all",
    "score_each",
]
