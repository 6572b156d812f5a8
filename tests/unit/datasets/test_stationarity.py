"""The stationarity tests against statsmodels' values and against plain least squares."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeeval.datasets import stationarity
from timeeval.datasets.stationarity import adf_test, kpss_test


def made(kind):
    noise = np.random.default_rng(42).normal(size=600)
    autoregressive = np.zeros(600)
    for i in range(2, 600):
        autoregressive[i] = 0.6 * autoregressive[i - 1] - 0.3 * autoregressive[i - 2] + noise[i]
    return {
        "noise": noise,
        "walk": np.cumsum(noise),
        "ar": autoregressive,
        "trend": np.arange(600) * 0.02 + noise,
        "short": noise[:20],
        "far": 1e6 + noise,
        "square": (np.arange(600) // 50 % 2) + 0.01 * noise,
    }[kind]


# adfuller(x, autolag="AIC") and kpss(x, regression="c", nlags="auto") of statsmodels: statistic, p-value, lags of each.
GOLDEN = {
    "noise": (-22.368664358651312, 0.0, 0, 0.05226899948438591, 0.1, 7),
    "walk": (-2.560906605962623, 0.10134921428255078, 1, 0.7319428784064992, 0.010641556508500074, 16),
    "ar": (-18.07696734260774, 2.5938672174790375e-30, 1, 0.053097134452487246, 0.1, 12),
    "trend": (-0.5542057573699112, 0.8809976047380954, 17, 3.624454082915625, 0.01, 16),
    "short": (-2.7748588008905553, 0.0619557193508757, 8, 0.14625271550037286, 0.1, 1),
    "far": (-22.368664358595844, 0.0, 0, 0.05226899942236276, 0.1, 7),
    "square": (-3.339916198788794, 0.013185813447951781, 0, 0.10399591539345833, 0.1, 16),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_known_values(kind):
    adf, kpss = adf_test(made(kind)), kpss_test(made(kind))
    found = (adf.statistic, adf.p_value, adf.lags, kpss.statistic, kpss.p_value, kpss.lags)
    assert found == pytest.approx(GOLDEN[kind], rel=1e-7, abs=1e-9)


def slow_adf(x):
    """Build every regression with its own matrix and solve it by itself."""
    steps = np.diff(x)
    most = min(math.ceil(12 * (len(x) / 100) ** 0.25), len(x) // 2 - 2)

    def regress(lags, shift):
        rows = range(shift, len(steps))
        matrix = np.array([[1.0, x[t], *(steps[t - i] for i in range(1, lags + 1))] for t in rows])
        target = steps[shift:]
        beta, *_ = np.linalg.lstsq(matrix, target, rcond=None)
        rest = target - matrix @ beta
        return matrix, beta, rest @ rest

    def aic(lags):
        matrix, _, squares = regress(lags, most)
        return len(matrix) * math.log(squares) + 2 * (lags + 2)

    lags = min(range(most + 1), key=aic)
    matrix, beta, squares = regress(lags, lags)
    variance = squares / (len(matrix) - lags - 2) * np.linalg.inv(matrix.T @ matrix)[1, 1]
    return beta[1] / math.sqrt(variance), lags


@given(st.integers(0, 10**6), st.integers(20, 150), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_adf_equals_plain_least_squares(seed, length, memory):
    noise = np.random.default_rng(seed).normal(size=length)
    x = np.zeros(length)
    for i in range(1, length):
        x[i] = memory * x[i - 1] + noise[i]
    found = adf_test(x)
    statistic, lags = slow_adf(x)
    assert found.lags == lags
    assert found.statistic == pytest.approx(statistic, rel=1e-6)


@pytest.mark.parametrize("kind", [k for k in GOLDEN if k != "short"])
def test_the_slower_factor_gives_the_same(kind, monkeypatch):
    fast = adf_test(made(kind))
    monkeypatch.setattr(stationarity, "_INDEPENDENT", math.inf)
    monkeypatch.setattr(stationarity, "_BLOCK", 64)
    slow = adf_test(made(kind))
    assert slow.lags == fast.lags
    assert slow.statistic == pytest.approx(fast.statistic, rel=1e-7)


def test_dependent_columns_are_survived():
    periodic = np.sin(np.arange(400) / 7)
    assert adf_test(periodic).p_value == 0.0
    assert adf_test(np.tile([0.0, 1.0, 3.0], 60)).p_value < 0.05


@given(st.floats(-25, 5), st.floats(0, 3))
def test_p_values_grow_with_the_statistic(statistic, more):
    low, high = stationarity._mackinnon_p_value(statistic), stationarity._mackinnon_p_value(statistic + more)
    assert 0.0 <= low <= high + 2e-3 <= 1.002


@pytest.mark.parametrize(("critical", "level"), [(-3.43, 0.01), (-2.86, 0.05), (-2.57, 0.10)])
def test_p_values_agree_with_the_published_critical_values(critical, level):
    assert stationarity._mackinnon_p_value(critical) == pytest.approx(level, rel=0.03)


@pytest.mark.parametrize("statistic", [0.0, 0.347, 0.463, 0.574, 0.739, 10.0])
def test_the_table_of_kpss(statistic):
    p = float(np.interp(statistic, stationarity._KPSS_STATISTICS, stationarity._KPSS_P_VALUES))
    assert 0.01 <= p <= 0.10


@pytest.mark.parametrize("test", [adf_test, kpss_test])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2.0] * 30, "constant"),
        ([1.0, float("nan")] * 20, "not finite"),
        ([1.0, float("inf")] * 20, "not finite"),
    ],
)
def test_undefined_series(test, values, message):
    with pytest.raises(ValueError, match=message):
        test(np.array(values))


def test_undefined_series_of_one_test():
    for values in ([1.0, 2.0], [1.0, 2.0, 4.0]):
        with pytest.raises(ValueError, match="too short"):
            adf_test(np.array(values))
    with pytest.raises(ValueError, match="all steps"):
        adf_test(np.arange(100) * 0.1)
    with pytest.raises(ValueError, match="empty"):
        kpss_test(np.array([]))


def test_memory_is_linear():
    import tracemalloc

    x = np.cumsum(np.random.default_rng(0).normal(size=100_000))
    tracemalloc.start()
    try:
        adf_test(x)
        kpss_test(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
