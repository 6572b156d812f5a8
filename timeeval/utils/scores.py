"""Checking the scores of an algorithm before they are measured."""

from typing import Any

import numpy as np

from timeeval.errors import ScoresError


def check_scores(scores: object, length: int, algorithm: str, *, postprocessed: bool) -> np.ndarray[Any, Any]:
    """Make sure that there is one number per time step.

    Parameters
    ----------
    scores
        What the algorithm, or its post-processing, returned.
    length
        Time steps of the dataset.
    algorithm
        Name of the algorithm, for messages.
    postprocessed
        Whether a post-processing made the scores.

    Returns
    -------
    numpy.ndarray
        Shape (length,), dtype float64.

    Raises
    ------
    ScoresError
        If they are not numbers, not one per time step, or all NaN.
    """
    who = f"The post-processing of {algorithm}" if postprocessed else algorithm
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{who} returned {type(scores).__name__}, which is not an array of numbers ({error})"
        raise ScoresError(msg) from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        msg = f"{who} returned scores of the shape {values.shape}, but one column with {length} scores is needed"
        raise ScoresError(msg, remedy="Set the algorithm's postprocess to a function that makes one column of them")
    if len(values) != length:
        remedy = (
            "Check the window that the post-processing assumes against the parameters of this run"
            if postprocessed
            else "If these are scores of windows, set postprocess (e.g. ReverseWindowing with the window's size)"
        )
        msg = f"{who} returned {len(values)} scores for {length} time steps"
        raise ScoresError(msg, remedy=remedy)
    if length and np.isnan(values).all():
        msg = f"All {length} scores of {who} are NaN"
        raise ScoresError(msg, remedy="Check the parameters (e.g. a window longer than the series) and the data")
    return values
