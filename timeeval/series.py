"""Time series as experiments take and leave them: files read once per process, scores written as text."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from timeeval.fresh import fresh, write_fresh
from timeeval.utils.datasets import LABEL, extract_features, load_dataset, load_labels_only

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

CACHE_BYTES = 256 * 1024**2
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e16  # between them, Python writes numbers without an exponent

_Key = tuple[str, int, int]


class _Loaded:
    """A file that was read, and the arrays made of it; who gets one gets a copy."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self.bytes = int(table.memory_usage().sum())

    @cached_property
    def features(self) -> Array:
        return extract_features(self.table)

    @cached_property
    def labels(self) -> Array | None:
        return self.table[LABEL].to_numpy(dtype=np.float64) if LABEL in self.table else None


_loaded: OrderedDict[_Key, _Loaded] = OrderedDict()


def features_of(path: Path) -> Array:
    """Return the channels of a file, shape (n, channels), an array of the caller's own.

    Raises
    ------
    ValueError
        If the file has fewer than three columns.
    """
    return np.array(_load(path).features)


def whole_of(path: Path) -> Array:
    """Return the complete table of a file, time steps and labels included, an array of the caller's own.

    Raises
    ------
    ValueError
        If the file has fewer than three columns.
    """
    return np.array(_load(path).table.to_numpy())


def labels_of(path: Path) -> Array:
    """Return the labels of a file, shape (n,), dtype float64."""
    loaded = _loaded.get(_key(path))
    if loaded is None or loaded.labels is None:
        return load_labels_only(path)
    return np.array(loaded.labels)


def _key(path: Path) -> _Key:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _load(path: Path) -> _Loaded:
    key = _key(path)
    loaded = _loaded.get(key)
    if loaded is None:
        table = load_dataset(path)
        if table.shape[1] < 3:
            raise ValueError(
                f"Dataset {path} has a shape that was not expected: {table.shape}. It needs an index, at least one "
                "channel and the labels."
            )
        loaded = _loaded[key] = _Loaded(table)
        while len(_loaded) > 1 and sum(known.bytes for known in _loaded.values()) > CACHE_BYTES:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return loaded


def write_scores(path: str | Path, scores: Array) -> None:
    """Write numbers one per line, no header, no final newline: the text of ``ndarray.tofile`` with that separator."""
    kind, size = scores.dtype.kind, scores.dtype.itemsize
    if kind == "f" and size <= 8:
        text = _float_lines(np.ascontiguousarray(scores.ravel(), dtype=np.float64))
    elif kind in "iu":
        text = "\n".join(map(str, scores.ravel().tolist())).encode()
    else:
        with fresh(path) as file:
            scores.tofile(file, sep="\n")
        return
    write_fresh(path, text)


def _float_lines(values: Array) -> bytes:
    """Return the `repr` of each number in a line of its own.

    orjson finds the same shortest digits more than ten times faster. It only writes exponents and what is not finite
    in its own way, so those lines are made anew.
    """
    import orjson

    if not len(values):
        return b""
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].replace(b",", b"\n")
    size = np.abs(values)
    differing = np.flatnonzero(~((size >= _LEAST_PLAIN) & (size < _MOST_PLAIN) | (size == 0.0)))
    if not len(differing):
        return text
    lines = text.split(b"\n")
    for index, value in zip(differing.tolist(), values[differing].tolist(), strict=True):
        lines[index] = repr(value).encode()
    return b"\n".join(lines)
