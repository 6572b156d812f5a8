"""The metrics as users call them against slow definitions: thresholds, points, ranges, areas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from series import scored_series

from timeeval.metrics import (
    AffiliationFScore,
    AffiliationPrecision,
    AffiliationRecall,
    F1Score,
    FScoreAtK,
    Precision,
    PrecisionAtK,
    RangeFScore,
    RangePrAUC,
    RangePrecision,
    RangePrecisionRangeRecallAUC,
    RangeRecall,
    RangeRocAUC,
    Recall,
)
from timeeval.metrics.ranges import BIASES, CARDINALITIES
from timeeval.metrics.thresholding import (
    FixedValueThresholding,
    NoThresholding,
    PercentileThresholding,
    SigmaThresholding,
    TopKPointsThresholding,
    TopKRangesThresholding,
)

EQUAL = {"rel": 1e-9, "abs": 1e-9}
alphas, biases, cardinalities = (
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from(BIASES),
    st.sampled_from(CARDINALITIES),
)


def percentile(scores, q):
    """The value at a share of the sorted scores, neighbours joined by a line."""
    ordered = sorted(s for s in scores if not math.isnan(s))
    position = q / 100 * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def fscore(precision, recall, beta=1.0):
    weighted = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighted if weighted else 0.0


def halves(labels, scores):
    """Predictions with something and not everything predicted."""
    predicted = (scores > np.median(scores)).astype(np.int64)
    assume(0 < predicted.sum() < len(predicted))
    return labels, predicted


@given(scored_series(), st.floats(0, 100), st.floats(0.5, 4), st.integers(1, 20))
def test_thresholds(series, q, factor, k):
    labels, scores = series
    scores = np.where(np.arange(len(scores)) == 0, np.nan, scores)
    assume(len(scores) > 2)
    known = [s for s in scores if not math.isnan(s)]
    mean = math.fsum(known) / len(known)
    deviation = math.sqrt(math.fsum((s - mean) ** 2 for s in known) / len(known))
    assert PercentileThresholding(q).find_threshold(labels, scores) == pytest.approx(percentile(scores, q), **EQUAL)
    assert SigmaThresholding(factor).find_threshold(labels, scores) == pytest.approx(mean + factor * deviation, **EQUAL)
    assume(k <= len(scores))
    expected = percentile(scores, 100 * (1 - k / len(scores)))
    assert TopKPointsThresholding(k).find_threshold(labels, scores) == pytest.approx(expected, **EQUAL)


@given(scored_series(), st.floats(0, 1))
def test_a_point_is_predicted_at_or_above_the_threshold(series, threshold):
    labels, scores = series
    found = FixedValueThresholding(threshold).fit_transform(labels, scores)
    assert found.tolist() == [int(score >= threshold) for score in scores]


@given(scored_series(), st.floats(0, 100))
def test_points_above_a_threshold(series, q):
    labels, scores = series
    strategy = PercentileThresholding(q)
    bound = strategy.find_threshold(labels, scores)
    predicted = {i for i, score in enumerate(scores) if score >= bound}
    anomalous = {i for i, label in enumerate(labels) if label}
    hits = len(predicted & anomalous)
    precision, recall = hits / len(predicted), hits / len(anomalous)
    assert Precision(strategy)(labels, scores) == pytest.approx(precision, **EQUAL)
    assert Recall(strategy)(labels, scores) == pytest.approx(recall, **EQUAL)
    assert F1Score(strategy)(labels, scores) == pytest.approx(fscore(precision, recall), **EQUAL)


@given(scored_series(), alphas, cardinalities, biases)
def test_range_precision_and_recall(series, alpha, cardinality, bias):
    labels, predicted = halves(*series)
    options = {"alpha": alpha, "cardinality": cardinality, "bias": bias}
    for metric, definition in ((RangePrecision, reference.range_precision), (RangeRecall, reference.range_recall)):
        found = metric(NoThresholding(), **options)(labels, predicted)
        assert found == pytest.approx(definition(labels, predicted, **options), **EQUAL)


@given(scored_series(), st.sampled_from([0.5, 1, 2]), alphas, alphas, cardinalities, biases, biases)
def test_range_fscore(series, beta, p_alpha, r_alpha, cardinality, p_bias, r_bias):  # noqa: PLR0917
    labels, predicted = halves(*series)
    precision = reference.range_precision(labels, predicted, alpha=p_alpha, cardinality=cardinality, bias=p_bias)
    recall = reference.range_recall(labels, predicted, alpha=r_alpha, cardinality=cardinality, bias=r_bias)
    metric = RangeFScore(
        beta=beta, p_alpha=p_alpha, r_alpha=r_alpha, cardinality=cardinality, p_bias=p_bias, r_bias=r_bias
    )
    assert metric(labels, predicted) == pytest.approx(fscore(precision, recall, beta), **EQUAL)


@given(scored_series(), st.integers(1, 8))
def test_the_k_highest_ranges(series, k):
    labels, scores = series
    predicted = scores >= TopKRangesThresholding(k).find_threshold(labels, scores)
    precision = reference.range_precision(labels, predicted, alpha=1.0)
    recall = reference.range_recall(labels, predicted, alpha=1.0)
    assert PrecisionAtK(k)(labels, scores) == pytest.approx(precision, **EQUAL)
    assert FScoreAtK(k)(labels, scores) == pytest.approx(fscore(precision, recall), **EQUAL)


@given(scored_series(), st.sampled_from([3, 50]), alphas, alphas, cardinalities, biases)
def test_area_under_range_precision_over_range_recall(series, samples, p_alpha, r_alpha, cardinality, bias):  # noqa: PLR0917
    labels, scores = series
    rest = {"cardinality": cardinality, "bias": bias}
    curve = reference.range_curve(labels, scores, samples, {"alpha": p_alpha, **rest}, {"alpha": r_alpha, **rest})
    ordered = sorted(curve, key=lambda point: (-point[1], point[0]))
    points = [(labels.mean(), 1.0), *ordered, (1.0, 0.0)]
    expected = sum((r1 - r2) * (p1 + p2) / 2 for (p1, r1), (p2, r2) in pairwise(points))
    metric = RangePrecisionRangeRecallAUC(samples, r_alpha, p_alpha, cardinality, bias)
    assert metric(labels, scores) == pytest.approx(expected, **EQUAL)


@given(scored_series(normal_points=True), st.none() | st.integers(0, 20), st.booleans())
def test_areas_under_buffered_curves(series, buffer, compatible):
    labels, scores = series
    lengths = [end - start for start, end in reference.ranges(labels)]
    size = int(np.median(lengths)) if buffer is None else buffer
    pr, roc = reference.buffered_areas(labels, scores, size, compatible=compatible)
    assert RangePrAUC(buffer, compatible)(labels, scores) == pytest.approx(pr, **EQUAL)
    assert RangeRocAUC(buffer, compatible)(labels, scores) == pytest.approx(roc, **EQUAL)


@given(scored_series(max_size=30))
def test_affiliation_metrics(series):
    labels, predicted = halves(*series)
    precision, recall = reference.affiliation(labels, predicted.astype(bool))
    assume(not math.isnan(precision))
    found = (
        AffiliationPrecision(NoThresholding())(labels, predicted),
        AffiliationRecall(NoThresholding())(labels, predicted),
    )
    assert found == pytest.approx((precision, recall), abs=5e-3)
    assert AffiliationFScore(NoThresholding())(labels, predicted) == pytest.approx(fscore(*found), **EQUAL)
