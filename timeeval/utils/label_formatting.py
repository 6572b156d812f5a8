"""Labels as one value per time step, or as the positions of anomalies."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def id2labels(ids: Sequence[int] | np.ndarray[Any, Any], data_length: int) -> np.ndarray[Any, Any]:
    """Turn positions of anomalous time steps into labels.

    Parameters
    ----------
    ids
        Positions, counted from 0.
    data_length
        Time steps.

    Returns
    -------
    numpy.ndarray
        Shape (data_length,), dtype int64; 1 marks an anomaly.
    """
    labels = np.zeros(data_length, dtype=np.int64)
    labels[np.asarray(ids, dtype=np.int64)] = 1
    return labels


def labels2id(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the labels that equal 1, as TimeEval 1.5 does; ``numpy.flatnonzero`` gives their positions."""
    values = np.asarray(labels)
    return np.asarray(values[values == 1])
