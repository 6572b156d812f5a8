"""From scores of windows to scores of points."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

Array: TypeAlias = "np.ndarray[Any, Any]"

_BLOCK = 1 << 14
"""Points at a time: small enough that a block's sums stay in the processor's cache."""
_MEDIAN_CELLS = 1 << 18


class Method(Enum):
    """How the scores of all windows that cover a point are reduced to one; NaN is left out."""

    MEAN = 0
    MEDIAN = 1
    SUM = 2

    def fn(self, x: Array, axis: int | None = None) -> Array | np.floating[Any]:
        """Reduce `x` along `axis` (None: all of it)."""
        if self is Method.MEAN:
            return np.nanmean(x, axis=axis)
        if self is Method.MEDIAN:
            return np.nanmedian(x, axis=axis)
        return np.nansum(x, axis=axis)  # type: ignore[no-any-return]


class ReverseWindowing:
    """Turns window scores into point scores: each point gets the mean, median or sum of all windows that cover it.

    Work is O(n log w) for mean and sum of n windows of w points and memory is O(n). Sums are added up in the order in
    which numpy adds the rows of a matrix of all windows, so that the result has the same bits as that definition:
    thresholds and ties of the metrics depend on them.

    Parameters
    ----------
    window_size
        Points per window, at least 1.
    reduction
        How the windows of a point are combined.
    n_jobs
        Accepted for TimeEval 1.5 scripts; the computation takes milliseconds and uses one process whatever the value.
    chunksize
        Points that are computed at a time; None: a size that suits the processor. The result does not depend on it.
    force_iterative
        Compute one point after the other with numpy's functions: slow, the definition in its plainest form.
    """

    def __init__(
        self,
        window_size: int,
        reduction: Method = Method.MEAN,
        n_jobs: int = 1,
        chunksize: int | None = None,
        force_iterative: bool = False,
    ) -> None:
        if window_size < 1:
            raise ValueError(f"window_size must be at least 1, but is {window_size}.")
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, but is {chunksize}.")
        self.window_size = window_size
        self.reduction = reduction
        self.n_jobs = n_jobs
        self.chunksize = chunksize
        self.force_iterative = force_iterative

    def fit(self, X: Array, y: object = None) -> ReverseWindowing:  # noqa: ARG002, N803  scikit-learn's signature
        """Do nothing: there is nothing to learn from `X` or `y`."""
        return self

    def transform(self, X: Array) -> Array:  # noqa: N803  scikit-learn's signature
        """Return point scores.

        Parameters
        ----------
        X : ndarray of shape (n,)
            Window scores; NaN where a window has none.

        Returns
        -------
        ndarray of shape (n + window_size - 1,), float64
            Point scores. A point without any score is NaN (0 for sums).

        Raises
        ------
        ValueError
            If `X` is not one-dimensional.
        """
        if self.force_iterative:
            return self._reverse_windowing_iterative(X)
        scores = _checked(X)
        if self.reduction is Method.MEDIAN:
            return _window_medians(scores, self.window_size) + 0.0  # no median is -0
        sums = _window_sums(scores, self.window_size, self.chunksize or _BLOCK)
        if self.reduction is Method.SUM:
            return sums
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / _window_counts(scores, self.window_size))

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  scikit-learn's signature
        """Return the constructor's arguments; with it scikit-learn can clone the object."""
        return dict(vars(self))

    def set_params(self, **params: Any) -> ReverseWindowing:  # noqa: ANN401
        """Change arguments of the constructor."""
        unknown = params.keys() - vars(self).keys()
        if unknown:
            raise ValueError(f"ReverseWindowing has no parameter {', '.join(sorted(unknown))}.")
        ReverseWindowing.__init__(self, **{**self.get_params(), **params})  # checks them
        return self

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  asked for by scikit-learn alone
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(one_d_array=True, two_d_array=False, allow_nan=True),
            requires_fit=False,
        )

    def fit_transform(self, X: Array, y: object = None) -> Array:  # noqa: ARG002, N803  scikit-learn's signature
        """Return point scores of `X`, see `transform`; `y` is there for scikit-learn."""
        return self.transform(X)

    def _reverse_windowing_iterative(self, X: Array, is_chunk: bool = False) -> Array:  # noqa: N803
        """Return point scores one by one; of a chunk, which brings its own padding, only those of full windows."""
        scores = _checked(X)
        padded = scores if is_chunk else _padded(scores, self.window_size, np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.window_size)
        reduced = np.full(len(windows), 0.0 if self.reduction is Method.SUM else np.nan)
        for i, window in enumerate(windows):
            if not np.isnan(window).all():
                reduced[i] = self.reduction.fn(window)
        return reduced

    def _chunk_and_vectorize(self, X: Array) -> Array:  # noqa: N803
        """Return point scores computed in chunks of `chunksize` points."""
        if self.chunksize is None:
            raise ValueError("chunksize is None, but points can only be computed in chunks of some int size.")
        return self.transform(X)


def padding_borders(scores: Array, input_size: int) -> Array:
    """Centre scores in zeros.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Scores.
    input_size
        Length of the result, at least n.

    Returns
    -------
    ndarray of shape (input_size,), float64
        The scores from position (input_size - n) // 2 on.

    Raises
    ------
    ValueError
        If there are more scores than `input_size`.
    """
    scores = _checked(scores)
    if len(scores) > input_size:
        raise ValueError(f"{len(scores)} scores do not fit into input_size={input_size} points.")
    padded = np.zeros(input_size)
    offset = (input_size - len(scores)) // 2
    padded[offset : offset + len(scores)] = scores
    return padded


def _checked(scores: Array) -> Array:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"Window scores must be one-dimensional, but their shape is {scores.shape}.")
    return scores


def _padded(scores: Array, window: int, value: float) -> Array:
    """Return the scores between two times `window` - 1 values, so that every point has `window` entries."""
    padded = np.full(len(scores) + 2 * (window - 1), value)
    padded[window - 1 : window - 1 + len(scores)] = scores
    return padded


def _window_sums(scores: Array, window: int, block: int) -> Array:
    # In the matrix of all windows the latest one stands first.
    padded = _padded(scores[::-1], window, 0.0)
    np.copyto(padded, 0.0, where=np.isnan(padded))
    points = len(scores) + window - 1
    sums = np.empty(points)
    # A block shorter than its window would add up mostly what its neighbours add up again.
    block = max(block, window)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        for first in range(0, points, block):
            last = min(first + block, points)
            sums[first:last] = _pairwise_sums(padded[first : last + window - 1], window, {})
    sums += 0.0  # numpy starts from 0, so that no sum is -0
    return sums[::-1].copy()


def _pairwise_sums(values: Array, length: int, known: dict[int, Array]) -> Array:
    """Return the sums of every `length` consecutive values, each in the order of numpy's pairwise summation.

    Numpy adds up to 128 values in eight interleaved sums and splits more into halves. For consecutive windows all
    interleaved sums are one sequence of strided sums, shifted; so each level costs one addition per window.
    """
    if length in known:
        return known[length]
    count = len(values) - length + 1
    if length < 8:
        sums = values[:count].copy()
        for i in range(1, length):
            sums += values[i : i + count]
    elif length <= 128:
        body = length - length % 8
        strided = values[: count + 7].copy()
        for i in range(8, body, 8):
            strided += values[i : i + count + 7]
        pairs = strided[:-1] + strided[1:]
        fours = pairs[:-2] + pairs[2:]
        sums = fours[:-4] + fours[4:]
        for i in range(body, length):
            sums += values[i : i + count]
    else:
        half = length // 2
        half -= half % 8
        sums = _pairwise_sums(values, half, known)[:count] + _pairwise_sums(values, length - half, known)[half:]
    known[length] = sums
    return sums


def _window_counts(scores: Array, window: int) -> Array:
    """Return the number of scores that are not NaN for every point."""
    n, points = len(scores), len(scores) + window - 1
    present = ~np.isnan(scores)
    if present.all():
        last = np.arange(1, points + 1)
        return np.asarray(np.minimum(last, n) - np.maximum(last - window, 0))
    before = np.concatenate(([0], np.cumsum(present)))
    last = np.minimum(np.arange(1, points + 1), n)
    first = np.maximum(np.arange(1, points + 1) - window, 0)
    return np.asarray(before[last] - before[first])


def _window_medians(scores: Array, window: int) -> Array:
    n = len(scores)
    if window == 1:
        return scores.copy()
    if n < 2 * window or np.isnan(scores).any():
        return _nan_medians(_padded(scores, window, np.nan), window)
    border = window - 1
    medians = np.empty(n + border)
    medians[:border] = _nan_medians(_padded(scores[:border], window, np.nan)[: 2 * border], window)[:border]
    medians[n:] = _nan_medians(_padded(scores[n - border :], window, np.nan)[border:], window)
    medians[border:n] = _full_medians(scores, window)
    return medians


def _full_medians(scores: Array, window: int) -> Array:
    """Return the medians of all full windows of scores without NaN."""
    from scipy.ndimage import rank_filter

    # The filter centres its window; this takes the outputs whose windows lie within the series.
    first, count = window // 2, len(scores) - window + 1
    upper = rank_filter(scores, window // 2, size=window)[first : first + count]
    if window % 2:
        return np.asarray(upper)
    lower = rank_filter(scores, window // 2 - 1, size=window)[first : first + count]
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return np.asarray((lower + upper) / 2)


def _nan_medians(padded: Array, window: int) -> Array:
    """Return the medians of all windows, NaN left out; NaN where nothing else is in one."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    medians = np.empty(len(windows))
    for rows in _slices(len(windows), max(1, _MEDIAN_CELLS // window)):
        ordered = np.sort(windows[rows], axis=1)  # NaN goes last
        count = window - np.isnan(ordered).sum(axis=1)
        at = np.arange(len(ordered))
        upper = ordered[at, np.minimum(count // 2, window - 1)]
        lower = ordered[at, np.maximum(count - 1, 0) // 2]
        with np.errstate(invalid="ignore"):
            medians[rows] = np.where(count % 2 == 1, lower, (lower + upper) / 2)
    return medians


def _slices(length: int, step: int) -> Iterator[slice]:
    for first in range(0, length, step):
        yield slice(first, min(first + step, length))
