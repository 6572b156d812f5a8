import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeeval.metrics import PrAUC, RangePrAUC, RangePrecisionRangeRecallAUC, RocAUC, order, score_each
from timeeval.metrics.order import Order

KINDS = ["uniform", "rounded", "skewed", "outlier", "tiny", "huge", "negative", "ulps", "constant", "few"]


def make_scores(kind, n, dtype, seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    if kind == "rounded":
        scores = np.round(scores, 1)
    if kind == "skewed":
        scores = scores**30
    if kind == "outlier":
        scores[0] = 1e12
    if kind == "tiny":
        scores = scores * 1e-310
    if kind == "huge":
        scores = (scores - 0.5) * 3e38 * (1e270 if dtype is np.float64 else 1)
    if kind == "negative":
        scores = -scores
    if kind == "ulps":
        scores = 1 + rng.integers(0, 5, n) * np.finfo(dtype).eps
    if kind == "constant":
        scores[:] = 0.25
    if kind == "few":
        scores = rng.integers(0, 2, n).astype(float)
    return scores.astype(dtype)


@pytest.fixture(params=[0, 1 << 15], ids=["buckets", "sorting"])
def either_way(request, monkeypatch):
    monkeypatch.setattr(order, "_FEW", request.param)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("sorted_before", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_that_of_sorting(kind, dtype, sorted_before):
    for n in (1, 2, 9, 500):
        scores = make_scores(kind, n, dtype, n)
        ascending = np.sort(scores)
        asked = Order(scores)
        if sorted_before:
            assert asked.ascending.tolist() == ascending.tolist()
        ranks = np.unique(np.linspace(0, n - 1, 7).astype(int))
        values, smaller = asked.at_ranks(ranks)
        assert values.tolist() == ascending[ranks].tolist()
        assert smaller.tolist() == [int(np.sum(scores < value)) for value in values]
        below, up_to = asked.counts(scores[::3])
        assert below.tolist() == [int(np.sum(scores < s)) for s in scores[::3]]
        assert up_to.tolist() == [int(np.sum(scores <= s)) for s in scores[::3]]
        thresholds = np.unique(scores)[1::3]
        levels = asked.levels(thresholds)
        assert levels.tolist() == [int(np.sum(thresholds <= s)) for s in scores]
        assert levels.dtype == np.uint8
        for count in (1, n // 5 + 1, n, n + 1):
            least = ascending[max(n - count, 0)]
            assert asked.highest(count).tolist() == ascending[ascending >= least].tolist()
        assert asked.distinct.tolist() == np.unique(scores).tolist()
        assert (asked.lowest, asked.top) == (ascending[0], ascending[-1])


def test_buckets_are_used_where_they_help(monkeypatch):
    monkeypatch.setattr(order, "_FEW", 0)
    assert Order(make_scores("uniform", 500, np.float64, 1))._buckets is not None
    for kind in ("skewed", "outlier", "tiny", "constant", "few"):
        assert Order(make_scores(kind, 500, np.float64, 1))._buckets is None, kind


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS[:3]))
def test_metrics_do_not_depend_on_the_way(seed, kind):
    metrics = [RocAUC(), PrAUC(), RangePrAUC(), RangePrecisionRangeRecallAUC(max_samples=9)]
    scores = make_scores(kind, 300, np.float64, seed)
    labels = (np.arange(300) % 60 < 5).astype(int)
    ways = []
    for few in (0, 1 << 15):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(order, "_FEW", few)
            ways += [[metric(labels, scores) for metric in metrics], score_each(metrics, labels, scores)]
    assert ways[0] == ways[1] == ways[2] == ways[3]
