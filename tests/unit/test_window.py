import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timeeval.utils.window import Method, ReverseWindowing, padding_borders

NAN = np.nan


def by_matrix(scores, window, method):
    """The definition: a row per point with the scores of the windows that cover it, the latest window first."""
    border = np.full(window - 1, np.nan)
    padded = np.concatenate((border, scores[::-1], border))
    rows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, window))
    gaps = np.isnan(rows)
    if method is Method.MEDIAN:
        middles = [np.sort(row[~gap]) for row, gap in zip(rows, gaps, strict=True)]
        return np.array([np.median(m) if len(m) else np.nan for m in middles])[::-1]
    sums = np.where(gaps, 0.0, rows).sum(axis=1)
    if method is Method.SUM:
        return sums[::-1]
    with np.errstate(invalid="ignore"):
        return (sums / (~gaps).sum(axis=1))[::-1]


def test_a_small_example():
    scores = np.arange(1.0, 8)
    assert ReverseWindowing(3).fit_transform(scores).tolist() == [1, 1.5, 2, 3, 4, 5, 6, 6.5, 7]
    assert ReverseWindowing(3, Method.SUM).fit_transform(scores).tolist() == [1, 3, 6, 9, 12, 15, 18, 13, 7]
    assert ReverseWindowing(3, Method.MEDIAN).fit_transform(scores).tolist() == [1, 1.5, 2, 3, 4, 5, 6, 6.5, 7]


@pytest.mark.parametrize("method", Method, ids=lambda m: m.name)
@pytest.mark.parametrize("window", [1, 2, 3, 7, 8, 9, 20, 100, 128, 129, 300, 1000])
@pytest.mark.parametrize("kind", ["uniform", "rounded", "gaps", "outliers", "steps"])
def test_every_bit_is_that_of_the_matrix_of_all_windows(kind, window, method):
    rng = np.random.default_rng(window)
    for n in (5, 120, 700):
        scores = rng.random(n)
        if kind == "rounded":
            scores = np.round(scores, 2)
        if kind == "gaps":
            scores[rng.random(n) < 0.3] = np.nan
        if kind == "outliers":
            scores[::17] = 1e12
        if kind == "steps":
            scores[: n // 2], scores[n // 2 :] = 0.1, 0.3
        found = ReverseWindowing(window, method, chunksize=400).fit_transform(scores)
        np.testing.assert_array_equal(found, by_matrix(scores, window, method), strict=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.sampled_from(Method), st.integers(0, 2**32 - 1))
def test_the_plain_form_agrees(n, window, method, seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    scores[rng.random(n) < 0.2] = np.nan
    expected = ReverseWindowing(window, method, force_iterative=True).fit_transform(scores)
    assert ReverseWindowing(window, method).fit_transform(scores) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_outliers_and_infinities_stay_local():
    scores = np.full(50, 0.1)
    scores[10], scores[30], scores[32] = 1e12, np.inf, -np.inf
    means = ReverseWindowing(3).fit_transform(scores)
    assert means[20] == pytest.approx(0.1, rel=1e-15)
    assert np.isinf(means[31])
    assert np.isnan(means[32])
    medians = ReverseWindowing(2, Method.MEDIAN).fit_transform(np.array([1, np.inf, -np.inf, 2.0]))
    np.testing.assert_array_equal(medians, [1, np.inf, NAN, -np.inf, 2])


def test_points_without_a_score():
    scores = np.array([1, NAN, NAN, 2.0])
    np.testing.assert_array_equal(ReverseWindowing(2).fit_transform(scores), [1, 1, NAN, 2, 2])
    np.testing.assert_array_equal(ReverseWindowing(2, Method.SUM).fit_transform(scores), [1, 1, 0, 2, 2])
    np.testing.assert_array_equal(ReverseWindowing(2, Method.MEDIAN).fit_transform(scores), [1, 1, NAN, 2, 2])


def test_integers_floats_and_lists_give_doubles():
    for scores in (np.arange(4), np.arange(4, dtype=np.float32), [0, 1, 2, 3]):
        points = ReverseWindowing(2).fit_transform(scores)
        assert points.dtype == np.float64
        assert points.tolist() == [0, 0.5, 1.5, 2.5, 3]


def test_windows_longer_than_the_series():
    assert ReverseWindowing(5).fit_transform(np.array([1.0, 2])).tolist() == [1, 1.5, 1.5, 1.5, 1.5, 2]


def test_options_of_old_scripts_change_nothing():
    scores = np.random.default_rng(0).random(95)
    expected = ReverseWindowing(10).fit_transform(scores)
    for options in ({"n_jobs": 4}, {"chunksize": 10}, {"n_jobs": 4, "chunksize": 10}):
        np.testing.assert_array_equal(ReverseWindowing(10, **options).fit_transform(scores), expected)
    windowing = ReverseWindowing(10, chunksize=7)
    np.testing.assert_array_equal(windowing.fit(scores).transform(scores), expected)
    np.testing.assert_array_equal(windowing._chunk_and_vectorize(scores), expected)
    with pytest.raises(ValueError, match="chunksize is None"):
        ReverseWindowing(10)._chunk_and_vectorize(scores)


def test_a_chunk_gives_full_windows_only():
    chunk = ReverseWindowing(3)._reverse_windowing_iterative(np.arange(1.0, 8), is_chunk=True)
    assert chunk.tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("options", [{"window_size": 0}, {"window_size": 3, "chunksize": 0}], ids=str)
def test_sizes_below_one_are_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        ReverseWindowing(**options)


def test_two_dimensional_scores_are_refused():
    with pytest.raises(ValueError, match="one-dimensional"):
        ReverseWindowing(2).fit_transform(np.ones((3, 1)))


def test_methods_leave_out_missing_values():
    values = np.array([1, NAN, 2, 6.0])
    assert [float(method.fn(values)) for method in Method] == [3, 2, 9]
    assert Method.MEAN.fn(np.array([[1, NAN], [2, 4.0]]), axis=1).tolist() == [1, 3]


def test_borders_are_padded_with_zeros():
    assert padding_borders(np.array([1.0, 2, 3]), 6).tolist() == [0, 1, 2, 3, 0, 0]
    assert padding_borders(np.array([1.0, 2, 3]), 3).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="do not fit"):
        padding_borders(np.ones(3), 2)


def test_scikit_learn_takes_it_as_a_transformer():
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

    windowing = ReverseWindowing(3, Method.SUM, chunksize=7)
    copy = clone(windowing)
    assert copy is not windowing
    assert copy.get_params() == windowing.get_params()
    pipeline = make_pipeline(ReverseWindowing(2), windowing)
    pipeline.set_params(**{"reversewindowing-2__window_size": 1})
    scores = np.arange(5, dtype=float)
    assert pipeline.fit_transform(scores).tolist() == ReverseWindowing(2).transform(scores).tolist()
    assert pipeline.transform(scores).tolist() == ReverseWindowing(2).transform(scores).tolist()
    with pytest.raises(ValueError, match="no parameter width"):
        windowing.set_params(width=3)
    with pytest.raises(ValueError, match="at least 1"):
        windowing.set_params(window_size=0)
