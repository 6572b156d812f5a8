"""Time series as experiments take and leave them: files read once per process, scores written as text."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.utils.datasets import LABEL, extract_features, load_dataset, load_labels_only

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

CACHE_BYTES = 256 * 1024**2

_Key = tuple[str, int, int]
_tables: OrderedDict[_Key, pd.DataFrame] = OrderedDict()


def features_of(path: Path) -> Array:
    """Return the channels of a file, shape (n, channels), an array of the caller's own.

    Raises
    ------
    ValueError
        If the file has fewer than three columns.
    """
    return np.array(extract_features(_table(path)))


def whole_of(path: Path) -> Array:
    """Return the complete table of a file, time steps and labels included, an array of the caller's own.

    Raises
    ------
    ValueError
        If the file has fewer than three columns.
    """
    return np.array(_table(path).to_numpy())


def labels_of(path: Path) -> Array:
    """Return the labels of a file, shape (n,), dtype float64."""
    table = _tables.get(_key(path))
    if table is None or LABEL not in table:
        return load_labels_only(path)
    return np.array(table[LABEL].to_numpy(dtype=np.float64))


def _key(path: Path) -> _Key:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _table(path: Path) -> pd.DataFrame:
    key = _key(path)
    table = _tables.get(key)
    if table is None:
        table = load_dataset(path)
        if table.shape[1] < 3:
            raise ValueError(
                f"Dataset {path} has a shape that was not expected: {table.shape}. It needs an index, at least one "
                "channel and the labels."
            )
        _tables[key] = table
        while len(_tables) > 1 and sum(int(known.memory_usage().sum()) for known in _tables.values()) > CACHE_BYTES:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return table


def write_scores(path: Path, scores: Array) -> None:
    """Write numbers one per line, no header, no final newline: the text of ``ndarray.tofile`` with that separator."""
    if scores.dtype.kind in "fiu":  # several times faster, and the same text: both are the repr of a Python number
        path.write_text("\n".join(map(repr, scores.ravel().tolist())), encoding="ascii")
    else:
        scores.tofile(str(path), sep="\n")
