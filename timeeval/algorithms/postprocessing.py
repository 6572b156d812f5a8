"""What turns the output of algorithm images into one score per time step.

An image that scores windows leaves one number per window. The functions here are the ``postprocess`` of the catalogue's
algorithms: ``(scores, args) -> scores``. They read ``args["hyper_params"]`` (a parameter that is not set has the
function's default), and two of them the length of the series, ``args["dataset_details"].length``. They are pickled by
reference, so every host with this package can run them.

Notes
-----
Names and windows are those of TimeEval 1.5, which took them from the manuals of the images.
"""

import logging
from typing import Any, TypeAlias

import numpy as np

from timeeval.utils.window import ReverseWindowing

Array: TypeAlias = "np.ndarray[Any, Any]"
Arguments: TypeAlias = dict[str, Any]

_log = logging.getLogger("timeeval.algorithms")


def _parameter(args: Arguments, name: str, default: int) -> int:
    return int(args.get("hyper_params", {}).get(name, default))


def _reverse(scores: Array, window: int) -> Array:
    return ReverseWindowing(window_size=window).fit_transform(scores)


def _spread(scores: Array, lengths: Array, starts: Array, n: int) -> Array:
    """Give each positive score to `lengths` points from `starts` on; mean where several overlap, else 0."""
    sums, counts = np.zeros(n), np.zeros(n, dtype=np.int64)
    for i in np.flatnonzero(scores > 0):
        covered = slice(starts[i], starts[i] + lengths[i])
        sums[covered] += scores[i]
        counts[covered] += 1
    return sums / np.maximum(counts, 1)


def _post_deepant(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size + prediction_window_size`` points (45 + 1)."""
    return _reverse(scores, _parameter(args, "window_size", 45) + _parameter(args, "prediction_window_size", 1))


def _post_norma(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``2 * anomaly_window_size - 1`` points (of 20)."""
    return _reverse(scores, 2 * _parameter(args, "anomaly_window_size", 20) - 1)


def _post_torsk(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``prediction_window_size * context_window_size + 1`` points (20 * 10 + 1)."""
    steps = _parameter(args, "prediction_window_size", 20) * _parameter(args, "context_window_size", 10)
    return _reverse(scores, steps + 1)


def post_damp(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (50)."""
    return _reverse(scores, _parameter(args, "anomaly_window_size", 50))


def post_deepnap(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``2 * anomaly_window_size`` points (of 15)."""
    return _reverse(scores, 2 * _parameter(args, "anomaly_window_size", 15))


def post_donut(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (120)."""
    return _reverse(scores, _parameter(args, "window_size", 120))


def post_encdec_ad(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``2 * anomaly_window_size`` points (of 30)."""
    return _reverse(scores, 2 * _parameter(args, "anomaly_window_size", 30))


def post_grammarviz(scores: Array, args: Arguments) -> Array:
    """Spread the score of each discord over its points; the mean where discords overlap, else 0.

    Parameters
    ----------
    scores : ndarray of shape (k, 3) or (3,)
        First point, score and length of each discord.
    args
        ``dataset_details.length`` is the length of the result; without it, the number of rows, or more if a discord
        reaches further.

    Returns
    -------
    ndarray of shape (n,), float64
        Point scores.

    Raises
    ------
    ValueError
        If there are not three columns.
    """
    rows = np.atleast_2d(scores)
    if rows.ndim != 2 or rows.shape[1] != 3:
        msg = f"GrammarViz must write the columns index, score and length, but its scores have the shape {rows.shape}."
        raise ValueError(msg)
    starts, lengths = rows[:, 0].astype(np.int64), rows[:, 2].astype(np.int64)
    if "dataset_details" in args:
        n = int(args["dataset_details"].length)
    else:
        n = max([len(rows), *(starts + lengths)[rows[:, 1] > 0].tolist()])
    return _spread(rows[:, 1], lengths, starts, n)


def post_hotsax(scores: Array, args: Arguments) -> Array:
    """Spread each positive score over ``anomaly_window_size`` points (100); mean where several overlap, else 0."""
    n = len(scores)
    return _spread(scores, np.full(n, _parameter(args, "anomaly_window_size", 100)), np.arange(n), n)


def post_hybrid_knn(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (20)."""
    return _reverse(scores, _parameter(args, "anomaly_window_size", 20))


def post_left_stampi(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (50), at most ``n_init_train`` (50) and at least 3."""
    window = min(_parameter(args, "anomaly_window_size", 50), _parameter(args, "n_init_train", 50))
    return _reverse(scores, max(window, 3))


def post_lstm_ad(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size + prediction_window_size`` points (30 + 1)."""
    return _reverse(scores, _parameter(args, "window_size", 30) + _parameter(args, "prediction_window_size", 1))


def post_mscred(scores: Array, args: Arguments) -> Array:
    """Reverse the windows of signature matrices, then give each matrix' score to the time steps of its gap.

    Parameters
    ----------
    scores : ndarray of shape (k,)
        Scores of windows of ``window_size`` (5) signature matrices, of which there is one every ``gap_time`` (10)
        steps; a gap of 0 or 1 means one at each step. A matrix spans the longest of ``windows`` ([10, 30, 60]).
    args
        Needs ``dataset_details.length``.

    Returns
    -------
    ndarray of shape (n,), float64
        Scores of time steps; the remainder that fills no gap is not repeated.
    """
    matrices = _reverse(scores, _parameter(args, "window_size", 5))
    longest = max(args.get("hyper_params", {}).get("windows", [10, 30, 60]))
    gap = max(_parameter(args, "gap_time", 10), 1)
    rest = (int(args["dataset_details"].length) - (longest - 1)) % gap
    full = max(len(matrices) - rest, 0)  # [:-rest] would leave nothing when there is no remainder
    return np.concatenate([np.repeat(matrices[:full], gap), matrices[full:]])


def post_mstamp(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (50)."""
    return _reverse(scores, _parameter(args, "anomaly_window_size", 50))


def post_mtad_gat(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size + 1`` points (20 + 1)."""
    return _reverse(scores, _parameter(args, "window_size", 20) + 1)


def post_multi_subsequence_lof(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_nf(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (20)."""
    return _reverse(scores, _parameter(args, "window_size", 20))


def post_omni_anomaly(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_s2g(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size + convolution_size + query_window_size + 4`` points (50 + 50 // 3 + 75 + 4)."""
    window = _parameter(args, "window_size", 50)
    convolution = _parameter(args, "convolution_size", window // 3)
    return _reverse(scores, window + convolution + _parameter(args, "query_window_size", 75) + 4)


def post_sfmcd(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_sIF(scores: Array, args: Arguments) -> Array:  # noqa: N802 - the name that scripts know
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_sLOF(scores: Array, args: Arguments) -> Array:  # noqa: N802 - the name that scripts know
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_stamp(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (30), at least 4; a smaller one is logged as a warning."""
    return _reverse(scores, _at_least_four("STAMP", _parameter(args, "anomaly_window_size", 30)))


def post_stomp(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (30), at least 4; a smaller one is logged as a warning."""
    return _reverse(scores, _at_least_four("STOMP", _parameter(args, "anomaly_window_size", 30)))


def _at_least_four(algorithm: str, window: int) -> int:
    if window < 4:
        _log.warning("%s needs windows of 4 points or more: anomaly_window_size %d was raised to 4.", algorithm, window)
    return max(window, 4)


def post_subsequence_knn(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size`` points (100)."""
    return _reverse(scores, _parameter(args, "window_size", 100))


def post_tanogan(scores: Array, args: Arguments) -> Array:
    """Give each score to the ``window_size`` (30) points of its window and NaN to the points behind the last one.

    Raises
    ------
    ValueError
        If the windows cover more points than ``dataset_details.length``.
    """
    window, n = _parameter(args, "window_size", 30), int(args["dataset_details"].length)
    covered = len(scores) * window
    if covered > n:
        msg = f"{len(scores)} windows of window_size={window} cover {covered} points, but the series has only {n}."
        raise ValueError(msg)
    points = np.full(n, np.nan)
    points[:covered] = np.repeat(scores, window)
    return points


def post_tarzan(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``anomaly_window_size`` points (20)."""
    return _reverse(scores, _parameter(args, "anomaly_window_size", 20))


def post_telemanom(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``window_size + prediction_window_size + 1`` points (250 + 10 + 1)."""
    window = _parameter(args, "window_size", 250)
    return _reverse(scores, window + _parameter(args, "prediction_window_size", 10) + 1)


def post_valmod(scores: Array, args: Arguments) -> Array:
    """Reverse windows of ``min_anomaly_window_size`` points (30), at least 4."""
    return _reverse(scores, max(_parameter(args, "min_anomaly_window_size", 30), 4))
