"""Two tests of stationarity: augmented Dickey-Fuller and KPSS.

Sources: D. A. Dickey and W. A. Fuller (1979), Distribution of the estimators for autoregressive time series with a unit
root; J. G. MacKinnon (1994), Approximate asymptotic distribution functions for unit-root and cointegration tests (the
p-values); G. W. Schwert (1989), Tests for unit roots: a Monte Carlo investigation (the number of lags that are tried);
D. Kwiatkowski, P. C. B. Phillips, P. Schmidt and Y. Shin (1992), Testing the null hypothesis of stationarity against
the alternative of a unit root (the statistic and its table); B. Hobijn, P. H. Franses and M. Ooms (1998),
Generalizations of the KPSS-test for stationarity (the bandwidth).
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

#: MacKinnon (1994), constant and one variable: polynomials in the statistic whose value is a standard normal quantile,
#: one for statistics up to _TAU_SWITCH and one above.
_TAU_LOW: Final = (2.1659, 1.4412, 0.038269)
_TAU_HIGH: Final = (1.7339, 0.93202, -0.12745, -0.010368)
_TAU_SWITCH: Final = -1.61
_TAU_MIN: Final = -18.83
_TAU_MAX: Final = 2.74

#: Kwiatkowski et al. (1992), table 1, level stationarity.
_KPSS_STATISTICS: Final = (0.347, 0.463, 0.574, 0.739)
_KPSS_P_VALUES: Final = (0.10, 0.05, 0.025, 0.01)

#: A column of which the others leave less than this share of its length counts as made of them.
_INDEPENDENT: Final = 1e-6
#: Steps that differ by less, in standard deviations of the series, differ by rounding only.
_SAME: Final = 1e-12
#: Rows that the fallback holds at a time.
_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class TestResult:
    """Outcome of a test.

    Parameters
    ----------
    statistic
        The test statistic.
    p_value
        How probable such a statistic is under the null hypothesis, 0 to 1.
    lags
        Lags (ADF) or bandwidth (KPSS) that were used.
    """

    __test__ = False  # not one of pytest's

    statistic: float
    p_value: float
    lags: int


def adf_test(series: Array) -> TestResult:
    """Augmented Dickey-Fuller test with a constant; the null hypothesis is a unit root, i.e. not stationary.

    Parameters
    ----------
    series
        Shape (n,), dtype float, finite.

    Returns
    -------
    TestResult
        The number of lags has the least AIC of all up to 12·(n/100)^¼, all compared on the same time steps.

    Raises
    ------
    ValueError
        If the series is constant, too short or not finite.

    Notes
    -----
    The regressions for all numbers of lags are nested, so one Cholesky factor of one Gram matrix holds the residual sum
    of each: O(n·lags + lags³) time and O(n) memory. Where the columns are too dependent for that, a blocked QR
    decomposition takes its place.
    """
    x = _checked(series)
    count = len(x)
    if np.ptp(x) == 0:
        msg = "the series is constant"
        raise ValueError(msg)
    most = min(math.ceil(12.0 * (count / 100.0) ** 0.25), count // 2 - 2)
    if most < 0:
        msg = f"the series is too short ({count} time steps)"
        raise ValueError(msg)
    # With a constant in the regression, neither changes the statistic; both keep the Gram matrix well conditioned.
    x = (x - x.mean()) / x.std()
    if np.ptp(np.diff(x)) < _SAME:
        msg = "all steps of the series are the same"
        raise ValueError(msg)

    factor, rows = _factor(x, most, level_last=False)
    explained = np.cumsum(factor[-1, :-1] ** 2)
    residual = factor[-1, -1] ** 2 + (explained[-1] - explained)[1:]  # with the constant and the level at least
    aic = rows * np.log(np.maximum(residual, np.finfo(float).tiny)) + 2.0 * np.arange(2, most + 3)
    lags = int(np.argmin(aic))

    factor, rows = _factor(x, lags, level_last=True)
    freedom = rows - (lags + 2)
    scale = math.sqrt(factor[-1, -1] ** 2 / freedom) if freedom > 0 else 0.0
    if scale == 0:
        msg = "the series follows from its own past without any rest"
        raise ValueError(msg)
    statistic = float(factor[-1, -2]) / scale
    return TestResult(statistic, _mackinnon_p_value(statistic), lags)


def kpss_test(series: Array) -> TestResult:
    """KPSS test around a level; the null hypothesis is stationarity.

    Parameters
    ----------
    series
        Shape (n,), dtype float, finite.

    Returns
    -------
    TestResult
        The bandwidth follows from the data; the p-value is interpolated in the published table and lies within 0.01 and
        0.1.

    Raises
    ------
    ValueError
        If the series is constant, too short or not finite.
    """
    x = _checked(series)
    count = len(x)
    rest = x - x.mean() if count else x
    variation = float(rest @ rest)
    if variation == 0:
        msg = "the series is constant" if count else "the series is empty"
        raise ValueError(msg)
    lags = min(_bandwidth(rest, variation), count - 1)
    weights = 1.0 - np.arange(1, lags + 1) / (lags + 1.0)
    spectrum = (variation + 2.0 * float(weights @ _autocovariances(rest, lags))) / count
    if spectrum <= 0:
        msg = "its long-run variance is not positive"
        raise ValueError(msg)
    sums = np.cumsum(rest)
    statistic = float(sums @ sums) / count**2 / spectrum
    return TestResult(statistic, float(np.interp(statistic, _KPSS_STATISTICS, _KPSS_P_VALUES)), lags)


def _checked(series: Array) -> Array:
    x = np.asarray(series, dtype=np.float64)
    if not np.isfinite(x).all():
        msg = "the series has values that are not finite"
        raise ValueError(msg)
    return x


def _factor(x: Array, lags: int, *, level_last: bool) -> tuple[Array, int]:
    """Cholesky factor of the regression's Gram matrix, and its number of rows.

    Rows and columns stand for: constant, level, lag 1 … lags, and what is explained at last; with ``level_last`` the
    level comes after the lags.
    """
    steps = np.diff(x)
    rows = len(steps) - lags
    gram = _gram(x, steps, lags, rows)
    order = _order(lags, level_last=level_last)
    gram = gram[np.ix_(order, order)]
    lengths = np.sqrt(np.diag(gram))
    if (lengths > 0).all():
        try:
            factor = np.linalg.cholesky(gram / np.outer(lengths, lengths))
        except np.linalg.LinAlgError:
            pass  # not positive definite in floating point: the slower way below does not square the condition
        else:
            if (np.diag(factor) > _INDEPENDENT).all():
                return factor * lengths[:, None], rows
    return _factor_by_qr(x, steps, lags, rows, order), rows


def _order(lags: int, *, level_last: bool) -> list[int]:
    between = list(range(2, lags + 2))
    return [0, *between, 1, lags + 2] if level_last else [0, 1, *between, lags + 2]


def _gram(x: Array, steps: Array, lags: int, rows: int) -> Array:
    """Gram matrix of constant, level, lags 1 … and the step itself, without ever making these columns."""
    size = lags + 3
    gram = np.empty((size, size))
    level = x[lags : lags + rows]
    gram[0, 0], gram[0, 1], gram[1, 1] = rows, level.sum(), level @ level
    # Index of a lag in the products below; lag 0 is the step itself, which stands last.
    place = [size - 1, *range(2, size - 1)]
    for lag in range(lags + 1):
        column = steps[lags - lag : lags - lag + rows]
        gram[0, place[lag]] = column.sum()
        gram[1, place[lag]] = level @ column
        gram[place[0], place[lag]] = steps[lags : lags + rows] @ column
    products = np.empty((lags + 1, lags + 1))
    products[0] = gram[place[0], place]
    # Going on by one lag in both factors takes in one product at the start and leaves out one at the end.
    head, tail = steps[:lags][::-1], steps[rows : rows + lags][::-1]
    for lag in range(1, lags + 1):
        products[lag, lag:] = (
            products[lag - 1, lag - 1 : -1] + head[lag - 1] * head[lag - 1 :] - tail[lag - 1] * tail[lag - 1 :]
        )
    upper = np.triu(products)
    gram[np.ix_(place, place)] = upper + np.triu(products, 1).T
    gram[1, 0] = gram[0, 1]
    gram[place, 0], gram[place, 1] = gram[0, place], gram[1, place]
    return gram


def _factor_by_qr(x: Array, steps: Array, lags: int, rows: int, order: list[int]) -> Array:
    """Make the same factor from the columns themselves, some rows at a time."""
    triangle: Any = np.empty((0, lags + 3))
    windows = np.lib.stride_tricks.sliding_window_view(steps, lags + 1)
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        block = np.empty((stop - start, lags + 3))
        block[:, 0] = 1.0
        block[:, 1] = x[lags + start : lags + stop]
        block[:, 2:] = windows[start:stop, ::-1][:, [*range(1, lags + 1), 0]]
        triangle = np.linalg.qr(np.vstack([triangle, block[:, order]]), mode="r")
    if len(triangle) < lags + 3:
        triangle = np.vstack([triangle, np.zeros((lags + 3 - len(triangle), lags + 3))])
    signs = np.where(np.diag(triangle) < 0, -1.0, 1.0)
    factor: Array = (triangle * signs[:, None]).T
    return factor


def _mackinnon_p_value(statistic: float) -> float:
    if statistic > _TAU_MAX:
        return 1.0
    if statistic < _TAU_MIN:
        return 0.0
    coefficients = _TAU_LOW if statistic <= _TAU_SWITCH else _TAU_HIGH
    quantile = sum(c * statistic**power for power, c in enumerate(coefficients))
    return 0.5 * math.erfc(-quantile / math.sqrt(2.0))


def _bandwidth(rest: Array, variation: float) -> int:
    """Bandwidth after Hobijn et al. (1998), for the Bartlett kernel."""
    count = len(rest)
    lags = int(count ** (2.0 / 9.0))
    doubled = 2.0 * _autocovariances(rest, min(lags, count - 1)) / count
    plain = variation / count + doubled.sum()
    if plain == 0:
        return 0
    weighted = float(np.arange(1, len(doubled) + 1) @ doubled)
    return int(1.1447 * ((weighted / plain) ** 2) ** (1.0 / 3.0) * count ** (1.0 / 3.0))


def _autocovariances(rest: Array, lags: int) -> Array:
    """Sum up the products of a series with itself, 1 … lags time steps later."""
    return np.array([rest[lag:] @ rest[: len(rest) - lag] for lag in range(1, lags + 1)], dtype=np.float64)
