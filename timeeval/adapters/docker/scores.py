"""Reading what an algorithm image left in the result folder.

An image is somebody else's program with write access to the folder, so its files are opened without following links,
only if they are regular files, and only up to a size.
"""

import os
import stat
from pathlib import Path
from typing import Any, Final

import numpy as np

from timeeval.errors import ScoresError

#: Largest score file that is read: 1e8 time steps with 20 digits each.
MAX_SCORES_BYTES: Final = 2 * 1024**3

#: What pandas, R and Julia write for a value that is missing.
_MISSING = frozenset({"", '""', "NA", "na", "null", "None", "<NA>", "missing"})

_REMEDY = "The image must write one number per line (or per window, with a post-processing), without a header"


def is_regular_file(path: Path) -> bool:
    """Tell whether there is a regular file, which a link to one is not."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def read_scores(path: Path, image: str, max_bytes: int = MAX_SCORES_BYTES) -> np.ndarray[Any, Any]:
    """Read a score file.

    Parameters
    ----------
    path
        CSV file without header: one number per line, or several separated by commas.
    image
        Who wrote it, for messages.
    max_bytes
        Largest file that is read.

    Returns
    -------
    numpy.ndarray
        Shape (n,) for one column, else (n, columns); dtype float64. Missing values are NaN.

    Raises
    ------
    ScoresError
        If the file is missing, not a regular file, too large, empty, not numbers, or holds nothing but NaN.
    """
    text = _read_text(path, image, max_bytes)
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        msg = f"{image} ended well but its score file {path} is empty"
        raise ScoresError(msg, remedy=_REMEDY)
    try:
        scores = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2, dtype=np.float64)
    except ValueError:
        scores = _parse_slowly(lines, path, image)
    else:
        if len(scores) != len(lines):  # loadtxt passes over empty lines, which would shift all scores behind them
            scores = _parse_slowly(lines, path, image)
    if np.isnan(scores).all():
        msg = f"{image} wrote {len(scores)} scores to {path}, and all of them are NaN"
        raise ScoresError(msg, remedy="Check the parameters (e.g. a window longer than the series) and the data")
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _read_text(path: Path, image: str, max_bytes: int) -> str:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        msg = f"{image} ended well but left no scores in {path}"
        raise ScoresError(msg, remedy="The image must write them to the path it gets as 'dataOutput'") from None
    except OSError as error:
        msg = f"The score file {path} of {image} cannot be opened: {error.strerror}"
        raise ScoresError(
            msg, remedy="It must be a regular file, not a link, readable by the user who runs this"
        ) from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        msg = f"The score file {path} of {image} is not a regular file"
        raise ScoresError(msg, remedy=_REMEDY)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if facts.st_size > max_bytes:
            msg = f"The score file {path} of {image} has {facts.st_size} bytes, more than the {max_bytes} that are read"
            raise ScoresError(msg, remedy=_REMEDY)
        return file.read(facts.st_size).decode("utf-8", errors="replace")


def _parse_slowly(lines: list[str], path: Path, image: str) -> np.ndarray[Any, Any]:
    """Parse line by line, which knows spellings of missing values and the number of the line at fault."""
    rows = [_parse_line(line, number, path, image) for number, line in enumerate(lines, start=1)]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        number = next(i for i, row in enumerate(rows, start=1) if len(row) != len(rows[0]))
        msg = (
            f"Line {number} of the score file {path} of {image} has {len(rows[number - 1])} columns, not {len(rows[0])}"
        )
        raise ScoresError(msg, remedy=_REMEDY)
    return np.array(rows, dtype=np.float64)


def _parse_line(line: str, number: int, path: Path, image: str) -> list[float]:
    try:
        return [np.nan if (cell := raw.strip()) in _MISSING else float(cell) for raw in line.split(",")]
    except ValueError:
        msg = f"Line {number} of the score file {path} of {image} is not a number: {line[:80]!r}"
        raise ScoresError(msg, remedy=_REMEDY) from None
