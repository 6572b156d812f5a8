"""Every metric against its slow definition, on random series."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from series import scored_series

from timeeval.metrics import (
    AveragePrecision,
    PointAdjustedF1,
    PrAUC,
    RangePrecisionRangeRecallAUC,
    RangePrVUS,
    RangeRocVUS,
    RocAUC,
)
from timeeval.metrics import ranges as range_module
from timeeval.metrics.affiliation import affiliation
from timeeval.metrics.buffers import curves_of, curves_up_to
from timeeval.metrics.order import Order
from timeeval.metrics.ranges import BIASES, CARDINALITIES, Reward, range_precision_recall
from timeeval.metrics.scoring import Scoring, runs
from timeeval.metrics.thresholding import NoThresholding, TopKRangesThresholding, top_k_ranges_threshold

EQUAL = {"rel": 1e-9, "abs": 1e-9}
rewards = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.0, 0.3, 1.0]),
        "cardinality": st.sampled_from(CARDINALITIES),
        "bias": st.sampled_from(BIASES),
    }
)


@given(scored_series(normal_points=True))
def test_roc_auc(series):
    assert RocAUC()(*series) == pytest.approx(reference.roc_auc(*series), **EQUAL)


@given(scored_series())
def test_pr_auc_and_average_precision(series):
    assert PrAUC()(*series) == pytest.approx(reference.pr_auc(*series), **EQUAL)
    assert AveragePrecision()(*series) == pytest.approx(reference.average_precision(*series), **EQUAL)


@given(scored_series(), rewards, rewards, st.sampled_from([2, 7, 50]), st.sampled_from([1, 100, 1 << 20]))
def test_range_precision_and_recall_at_every_threshold(series, p_options, r_options, samples, cells):
    labels, scores = series
    expected = reference.range_curve(labels, scores, samples, p_options, r_options)
    metric = RangePrecisionRangeRecallAUC(max_samples=samples)
    thresholds = metric._thresholds(Scoring(labels, scores).order.distinct)
    levels = Order(scores).levels(thresholds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_module, "_CELLS_AT_A_TIME", cells)
        curve = range_precision_recall(
            levels, len(thresholds), runs(labels > 0), Reward(**p_options), Reward(**r_options)
        )
    assert np.stack(curve, axis=1) == pytest.approx(np.array(expected).reshape(-1, 2), **EQUAL)


@given(scored_series(), st.integers(1, 12))
def test_top_k_ranges(series, k):
    labels, scores = series
    assert TopKRangesThresholding(k).find_threshold(labels, scores) == reference.top_k_ranges_threshold(scores, k)
    found = TopKRangesThresholding().find_threshold(labels, scores)
    assert found == reference.top_k_ranges_threshold(scores, len(reference.ranges(labels)))


def test_top_k_ranges_search_goes_beyond_the_first_slice():
    rng = np.random.default_rng(1)
    scores = np.cumsum(rng.normal(size=2000))
    for k in (1, 5, 40, 10_000):
        expected = reference.top_k_ranges_threshold(scores, k)
        assert top_k_ranges_threshold(Scoring(np.zeros(2000), scores), k) == expected


@given(scored_series(), st.integers(0, 40), st.booleans())
def test_areas_with_one_buffer(series, buffer, compatible):
    labels, scores = series
    curves = curves_of(Scoring(labels, scores), buffer, 250, compatible=compatible)
    pr, roc = reference.buffered_areas(labels, scores, buffer, compatible=compatible)
    assert curves.pr_areas[0] == pytest.approx(pr, **EQUAL)
    if not labels.all():
        assert curves.roc_areas[0] == pytest.approx(roc, **EQUAL)


@given(scored_series(max_size=40, normal_points=True), st.integers(0, 15), st.booleans(), st.sampled_from([5, 250]))
def test_volumes(series, largest, compatible, samples):
    pr, roc = reference.volumes(*series, largest, compatible=compatible, max_samples=samples)
    assert RangePrVUS(largest, compatible, samples)(*series) == pytest.approx(pr, **EQUAL)
    assert RangeRocVUS(largest, compatible, samples)(*series) == pytest.approx(roc, **EQUAL)


@given(scored_series(max_size=200, normal_points=True), st.booleans())
def test_a_volume_is_made_of_the_areas(series, compatible):
    scoring = Scoring(*series)
    together = curves_up_to(scoring, 30, 250, compatible=compatible)
    alone = [curves_of(scoring, buffer, 250, compatible=compatible) for buffer in range(31)]
    assert together.pr_areas == pytest.approx([curves.pr_areas[0] for curves in alone], **EQUAL)
    assert together.roc_areas == pytest.approx([curves.roc_areas[0] for curves in alone], **EQUAL)


@given(scored_series())
def test_point_adjusted_f1(series):
    labels, scores = series
    predicted = (scores > np.median(scores)).astype(int)
    predicted[0] = 1
    predicted[-1] = 0
    expected = reference.point_adjusted_f1(labels, predicted)
    assert PointAdjustedF1(NoThresholding())(labels, predicted) == pytest.approx(expected, **EQUAL)


@given(scored_series(max_size=30))
def test_affiliation(series):
    labels, scores = series
    predicted = scores > np.median(scores)
    precision, recall = reference.affiliation(labels, predicted)
    found = affiliation(runs(labels > 0), runs(predicted), len(labels))
    assert found == pytest.approx((precision, recall), abs=5e-3, nan_ok=True)


def test_many_anomalies_share_long_predicted_ranges():
    rng = np.random.default_rng(8)
    labels = (np.arange(400) % 5 == 0).astype(int)
    scores = np.convolve(rng.random(430), np.ones(31) / 31, "valid")
    options = {"alpha": 0.2, "cardinality": "reciprocal", "bias": "middle"}
    expected = reference.range_curve(labels, scores, 50, options, options)
    thresholds = RangePrecisionRangeRecallAUC()._thresholds(Scoring(labels, scores).order.distinct)
    levels = Order(scores).levels(thresholds)
    curve = range_precision_recall(levels, len(thresholds), runs(labels > 0), Reward(**options), Reward(**options))
    assert np.stack(curve, axis=1) == pytest.approx(np.array(expected), **EQUAL)


def test_memory_stays_linear_with_many_anomalies():
    import tracemalloc

    n = 200_000
    rng = np.random.default_rng(2)
    labels = (np.arange(n) % 10 == 0).astype(int)
    scores = rng.random(n)
    tracemalloc.start()
    RangePrecisionRangeRecallAUC()(labels, scores)
    _, range_peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    RangePrVUS(100)(labels, scores)
    _, volume_peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert range_peak < 150e6
    assert volume_peak < 150e6
