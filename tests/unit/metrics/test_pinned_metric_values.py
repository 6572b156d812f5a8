import numpy as np
import pytest

from timeeval.metrics import (
    AffiliationPrecision,
    AffiliationRecall,
    DefaultMetrics,
    F1Score,
    FScoreAtK,
    PointAdjustedF1,
    Precision,
    PrecisionAtK,
    RangeFScore,
    RangePrAUC,
    RangePrecision,
    RangePrVUS,
    RangeRecall,
    RangeRocAUC,
    RangeRocVUS,
    Recall,
    RocAUC,
)
from timeeval.metrics.thresholding import FixedValueThresholding, NoThresholding

HIT = np.array([0, 1, 0, 0])
PREDICTED = np.array([0, 1, 1, 0])
SCORED = np.array([0.1, 0.9, 0.8, 0.2])
RISING = np.array([0, 0.1, 1, 0.5, 0.1, 0])
HUMP = np.array([0, 1, 1, 1, 0, 0])


def test_range_metrics_of_predictions():
    assert DefaultMetrics.RANGE_F1(HIT, PREDICTED) == pytest.approx(2 / 3)
    assert DefaultMetrics.RANGE_PRECISION(HIT, PREDICTED) == 0.5
    assert DefaultMetrics.RANGE_RECALL(HIT, PREDICTED) == 1
    assert RangeFScore(FixedValueThresholding())(HIT, SCORED) == pytest.approx(2 / 3)
    assert RangePrecision(FixedValueThresholding())(HIT, SCORED) == 0.5
    assert RangeRecall(FixedValueThresholding())(HIT, SCORED) == 1


def test_point_metrics():
    for strategy, scores in ((NoThresholding(), PREDICTED), (FixedValueThresholding(), SCORED)):
        assert F1Score(strategy)(HIT, scores) == pytest.approx(2 / 3)
        assert Precision(strategy)(HIT, scores) == 0.5
        assert Recall(strategy)(HIT, scores) == 1


def test_range_precision_recall_area():
    assert DefaultMetrics.RANGE_PR_AUC(HUMP, RISING) == pytest.approx(0.9583, abs=5e-5)
    assert DefaultMetrics.FIXED_RANGE_PR_AUC(HUMP, RISING) == pytest.approx(0.9792, abs=5e-5)
    assert DefaultMetrics.RANGE_PR_AUC(HUMP, HUMP.astype(float)) == 1
    assert DefaultMetrics.FIXED_RANGE_PR_AUC(HUMP, HUMP.astype(float)) == 1


def test_inverted_scores_are_bad():
    inverted = 1.0 - HUMP
    assert RocAUC()(HUMP, inverted) == 0
    assert PrecisionAtK()(HUMP, inverted) == 0
    assert FScoreAtK()(HUMP, inverted) == 0
    assert DefaultMetrics.RANGE_PR_AUC(HUMP, inverted) <= 0.26


def test_volume_of_a_perfect_score_is_high():
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0])
    scores = labels.astype(float)
    for metric in (RangePrAUC(), RangeRocAUC(), RangePrVUS(4), RangeRocVUS(4)):
        assert 0.9 < metric(labels, scores) <= 1


def test_names():
    assert [metric.name for metric in vars(DefaultMetrics).values() if hasattr(metric, "score")] == [
        "ROC_AUC",
        "PR_AUC",
        "RANGE_PR_AUC",
        "AVERAGE_PRECISION",
        "RANGE_PRECISION",
        "RANGE_RECALL",
        "RANGE_F1.00_SCORE",
        "FIXED_RANGE_PR_AUC",
    ]
    assert PrecisionAtK().name == "PRECISION@K(None)"
    assert FScoreAtK(k=3).name == "F_SCORE@K(3)"
    assert F1Score(FixedValueThresholding()).name == "F1Score_FixedValueThresholding(threshold=0.8)"
    assert [m.name for m in (RangePrAUC(), RangeRocAUC(), RangePrVUS(), RangeRocVUS())] == [
        "RANGE_PR_AUC",
        "RANGE_ROC_AUC",
        "RANGE_PR_VOLUME",
        "RANGE_ROC_VOLUME",
    ]


def test_defaults():
    assert DefaultMetrics.default() is DefaultMetrics.ROC_AUC
    assert DefaultMetrics.default_list() == [DefaultMetrics.ROC_AUC]


def test_point_adjustment_fills_found_anomalies_only():
    labels = np.array([1, 1, 1, 0, 1, 1, 0, 0])
    predicted = np.array([0, 1, 0, 0, 0, 0, 1, 0])
    assert PointAdjustedF1(NoThresholding())(labels, predicted) == 2 * 3 / (4 + 5)


def test_affiliation_by_hand():
    # One zone from 0 to 10, the anomaly from 4 to 6. The prediction from 7 to 8 is 1 to 2 off; at d, (4 - d) / 5 of the
    # zone is at least as far off, on average 1/2. An anomalous point y is 7 - y off; (3 + max(2y - 7, 0)) / 10 of the
    # zone is at least as far off: from 4 to 6 that is (3 + 3) / 10 on average.
    labels = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0])
    predicted = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    assert AffiliationPrecision()(labels, predicted) == pytest.approx(0.5)
    assert AffiliationRecall()(labels, predicted) == pytest.approx(0.6)
    assert AffiliationPrecision()(labels, labels) == 1
    assert AffiliationRecall()(labels, labels) == 1


def test_metrics_without_predictions():
    nothing, labels = np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0])
    strategy = FixedValueThresholding(0.9)
    for metric in (
        Precision(strategy),
        RangePrecision(strategy),
        RangeFScore(strategy),
        AffiliationPrecision(strategy),
    ):
        with pytest.warns(UserWarning, match="predicted"):
            assert np.isnan(metric(labels, nothing))
    for metric in (Recall(strategy), RangeRecall(strategy), F1Score(strategy), AffiliationRecall(strategy)):
        assert metric(labels, nothing) == 0


@pytest.mark.parametrize(
    "options", [{"alpha": 1.1}, {"alpha": -0.1}, {"cardinality": "two"}, {"bias": "left"}], ids=str
)
def test_unknown_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        RangePrecision(**options)


def test_the_bias_of_recall_is_its_own():
    labels, predicted = np.array([0, 1, 1, 1, 1, 0]), np.array([0, 1, 1, 0, 0, 0])
    front, back = RangeFScore(r_bias="front"), RangeFScore(r_bias="back")
    assert front(labels, predicted) > RangeFScore()(labels, predicted) > back(labels, predicted)
