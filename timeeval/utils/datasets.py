"""Reading time series files in the canonical form.

A file is CSV with a header: time steps in the first column (dates, or whole numbers), one column per channel, labels
(0 or 1) in the last one. The first and the last column are usually called ``timestamp`` and ``is_anomaly``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from timeeval.errors import DatasetFileError

TIMESTAMP = "timestamp"
LABEL = "is_anomaly"


def load_dataset(path: str | Path) -> pd.DataFrame:
    """Read a time series file.

    Returns
    -------
    pandas.DataFrame
        Time steps first: datetime64[ns] if they are dates, the numbers they are otherwise.

    Raises
    ------
    DatasetFileError
        If the file is not a table, or its time steps are neither dates nor numbers.
    """
    frame = _read(path)
    steps = _step_column(frame)
    if not pd.api.types.is_numeric_dtype(frame[steps]):
        frame[steps] = _dates(frame[steps], path)
    return frame


def read_series(path: str | Path, dates: bool | None = None) -> pd.DataFrame:
    """Read a time series file whose kind of time steps is known, or is to be found out.

    Parameters
    ----------
    path
        The file.
    dates
        Whether time steps are dates; ``None`` to take whole numbers as they are and everything else as dates.

    Returns
    -------
    pandas.DataFrame
        Time steps first, datetime64[ns] or int64.

    Raises
    ------
    TypeError
        If the time steps are not what they have to be.
    """
    frame = _read(path)
    steps = _step_column(frame)
    column = frame[steps]
    as_dates = dates if dates is not None else not pd.api.types.is_numeric_dtype(column)
    try:
        frame[steps] = _dates(column, path) if as_dates else _whole_numbers(column, path)
    except DatasetFileError as error:
        raise TypeError(str(error)) from None
    return frame


def extract_labels(df: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the last column, shape (n,), dtype float64."""
    return df.iloc[:, -1].to_numpy(dtype=np.float64)


def extract_features(df: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the channels, shape (n, channels); float64 unless they are of another kind."""
    return df.iloc[:, 1:-1].to_numpy()


def load_labels_only(path: str | Path) -> np.ndarray[Any, Any]:
    """Read only the column ``is_anomaly`` of a file, shape (n,), dtype float64.

    Raises
    ------
    DatasetFileError
        If there is no such column.
    """
    try:
        return pd.read_csv(path, usecols=[LABEL])[LABEL].to_numpy(dtype=np.float64)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        msg = f"The labels in {path} cannot be read: {error}"
        raise DatasetFileError(msg, remedy=f"Its last column must be called {LABEL!r} and hold 0 and 1") from None


def _read(path: str | Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        msg = f"The time series file {path} is not a table: {error}"
        raise DatasetFileError(msg) from None


def _step_column(frame: pd.DataFrame) -> str:
    return TIMESTAMP if TIMESTAMP in frame.columns else str(frame.columns[0])


def _dates(column: "pd.Series[Any]", path: str | Path) -> "pd.Series[Any]":
    try:
        # pandas 3 would choose the unit by the text; 1.5 always had nanoseconds.
        return pd.to_datetime(column).astype("datetime64[ns]")
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"The time steps in column {column.name!r} of {path} are not dates: {error}"
        raise DatasetFileError(msg) from None


def _whole_numbers(column: "pd.Series[Any]", path: str | Path) -> "pd.Series[Any]":
    try:
        numbers = column.astype("int64")
    except (ValueError, TypeError, OverflowError):
        numbers = None
    if numbers is None or not (numbers == pd.to_numeric(column)).all():
        msg = f"The time steps in column {column.name!r} of {path} are not whole numbers"
        raise DatasetFileError(msg)
    return numbers
