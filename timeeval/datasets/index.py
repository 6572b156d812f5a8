"""The index file of a dataset folder, ``datasets.csv``: a line per dataset."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, NamedTuple

import pandas as pd

from timeeval.errors import DatasetIndexError

KEYS: Final = ("collection_name", "dataset_name")


class DatasetRecord(NamedTuple):
    """One line of an index file; the fields are its columns, in order.

    ``train_path`` is ``None`` for unsupervised datasets; paths are relative to the folder of the index.
    """

    collection_name: str
    dataset_name: str
    train_path: str | None
    test_path: str
    dataset_type: str
    datetime_index: bool
    split_at: int | None
    train_type: str
    train_is_normal: bool
    input_type: str
    length: int
    dimensions: int
    contamination: float
    num_anomalies: int
    min_anomaly_length: int
    median_anomaly_length: int
    max_anomaly_length: int
    mean: float
    stddev: float
    trend: str
    stationarity: str
    period_size: int | None


COLUMNS: Final = DatasetRecord._fields

#: Columns without which a dataset cannot be described; the others are empty if the file lacks them.
_REQUIRED: Final = frozenset(
    {
        *KEYS,
        "test_path",
        "dataset_type",
        "train_type",
        "input_type",
        "length",
        "dimensions",
        "contamination",
        "min_anomaly_length",
        "median_anomaly_length",
        "max_anomaly_length",
    }
)
#: Columns that must not be empty in any line.
_FILLED: Final = frozenset({*KEYS, "test_path", "dimensions"})

_EMPTY: Final = frozenset({"", "nan", "NaN", "None", "null", "NA", "<NA>"})


def _bool(text: str) -> bool:
    try:
        return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
    except KeyError:
        raise ValueError from None


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if math.isfinite(number) and number.is_integer():
            return int(number)
        raise


def _choice(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError
        return text

    return read


def _number_or_text(text: str) -> float | str:
    for read in (_int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


_TRAIN_TYPES: Final = ("unsupervised", "semi-supervised", "supervised")
_INPUT_TYPES: Final = ("univariate", "multivariate")

#: Column to (reader, what it takes).
_READERS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "datetime_index": (_bool, "True or False"),
    "split_at": (_number_or_text, ""),
    "train_type": (_choice(*_TRAIN_TYPES), ", ".join(_TRAIN_TYPES)),
    "train_is_normal": (_bool, "True or False"),
    "input_type": (_choice(*_INPUT_TYPES), ", ".join(_INPUT_TYPES)),
    **dict.fromkeys(
        (
            "length",
            "dimensions",
            "num_anomalies",
            "min_anomaly_length",
            "median_anomaly_length",
            "max_anomaly_length",
        ),
        (_int, "a whole number"),
    ),
    **dict.fromkeys(("contamination", "mean", "stddev"), (float, "a number")),
    "period_size": (_number_or_text, "a number"),
}


def read_index(path: Path) -> pd.DataFrame:
    """Read an index file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    pandas.DataFrame
        Indexed and sorted by ``collection_name`` and ``dataset_name``; the other columns as in the file.

    Raises
    ------
    DatasetIndexError
        If the file is malformed; names the line and the column.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            lines = [(reader.line_num, row) for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{path}, line {reader.line_num}: not readable as comma-separated text ({error})"
            raise DatasetIndexError(msg) from None
    _check_header(path, header)
    for number, row in lines:
        if len(row) != len(header):
            msg = (
                f"{path}, line {number}: {len(row)} values for {len(header)} columns; the line ends at column "
                f"{header[min(len(row), len(header)) - 1]!r}"
            )
            raise DatasetIndexError(msg, remedy="Write every column, empty where nothing is known")
    numbers = [number for number, _ in lines]
    cells = {name: [row[i] for _, row in lines] for i, name in enumerate(header)}
    values = {name: _read_column(path, name, numbers, cells[name]) for name in header}
    _check_unique(path, numbers, values)
    return _frame(values)


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name in _REQUIRED and name not in header]
    if missing:
        msg = f"{path}, line 1: the column {missing[0]!r} is missing"
        raise DatasetIndexError(msg, remedy=f"The columns of an index are {', '.join(COLUMNS)}")
    for name in header:
        if header.count(name) > 1:
            msg = f"{path}, line 1: the column {name!r} appears twice"
            raise DatasetIndexError(msg)


def _read_column(path: Path, name: str, numbers: list[int], cells: list[str]) -> list[Any]:
    read, accepted = _READERS.get(name, (str, "text"))
    values: list[Any] = []
    for number, cell in zip(numbers, cells, strict=True):
        if cell in _EMPTY and not (name in KEYS and cell):
            if name in _FILLED:
                msg = f"{path}, line {number}, column {name!r}: must not be empty"
                raise DatasetIndexError(msg)
            values.append(None)
            continue
        try:
            values.append(read(cell))
        except (ValueError, OverflowError):
            msg = f"{path}, line {number}, column {name!r}: {cell!r} is not {accepted}"
            raise DatasetIndexError(msg) from None
        if name == "dimensions" and values[-1] < 1:
            msg = f"{path}, line {number}, column {name!r}: a dataset has at least one channel, not {cell}"
            raise DatasetIndexError(msg)
    return values


def _check_unique(path: Path, numbers: list[int], values: Mapping[str, list[Any]]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for number, identity in zip(numbers, zip(*(values[key] for key in KEYS), strict=True), strict=True):
        first = seen.setdefault(identity, number)
        if first != number:
            msg = f"{path}, line {number}, column 'dataset_name': the dataset {identity} is in line {first} already"
            raise DatasetIndexError(msg)


def frame_of(records: Iterable[DatasetRecord]) -> pd.DataFrame:
    """Make the frame of some datasets; of two with the same name the later one counts."""
    by_identity = {record[:2]: record for record in records}
    rows = list(by_identity.values())
    return _frame({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})


def join_frames(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Join some frames into a sorted one; of two datasets with the same name the later one counts.

    pandas' own concatenation would guess the types of columns that are empty in one of the frames.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    names: dict[str, None] = dict.fromkeys(COLUMNS)
    for frame in frames:
        names.update(dict.fromkeys(map(str, frame.columns)))
        columns = {
            str(name): [None if lacks else value for value, lacks in zip(column.tolist(), column.isna(), strict=True)]
            for name, column in frame.items()
        }
        for i, identity in enumerate(frame.index):
            rows[identity] = {name: column[i] for name, column in columns.items()}
    values: dict[str, list[Any]] = {key: [identity[i] for identity in rows] for i, key in enumerate(KEYS)}
    values.update({name: [row.get(name) for row in rows.values()] for name in names if name not in KEYS})
    return _frame(values)


def _frame(values: Mapping[str, list[Any]]) -> pd.DataFrame:
    count = len(values[KEYS[0]])
    order = [*COLUMNS, *(name for name in values if name not in COLUMNS)]
    columns = {name: values.get(name, [None] * count) for name in order if name not in KEYS}
    index = pd.MultiIndex.from_arrays([values[key] for key in KEYS], names=KEYS)
    frame = pd.DataFrame({name: _series(column) for name, column in columns.items()})
    frame.index = index
    return frame.sort_index()


def _series(values: list[Any]) -> "pd.Series[Any]":
    if any(isinstance(value, bool) for value in values) and None in values:
        return pd.Series([float("nan") if value is None else value for value in values], dtype=object)
    if values and all(value is None for value in values):
        return pd.Series([float("nan")] * len(values))
    return pd.Series(values)


def write_index(frame: pd.DataFrame, path: Path) -> None:
    """Write an index file in one step: a reader sees the old or the new one, never half of it.

    Parameters
    ----------
    frame
        As :func:`read_index` returns it.
    path
        The file.
    """
    text = io.StringIO()
    frame.to_csv(text, lineterminator="\n")
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8") as file:
        temporary = Path(file.name)
        try:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
            # A temporary file is the owner's alone; an index is for everybody who may read its folder.
            temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
