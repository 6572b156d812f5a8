"""Writing where an algorithm image has written before: it may have put anything in the place of our files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def fresh(path: str | Path) -> Iterator[TextIO]:
    """Open a new text file for writing; what has its name, a link or a pipe as well, is removed and never opened.

    Parameters
    ----------
    path : str or Path
        Its name.

    Raises
    ------
    OSError
        If a folder has its name, or it cannot be made.
    """
    with open(_new(path), "w", encoding="utf-8", newline="") as file:
        yield file


def write_fresh(path: str | Path, data: bytes) -> None:
    """Write a new file like `fresh` does; for the many small ones of an experiment."""
    with open(_new(path), "wb") as file:
        file.write(data)


def _new(path: str | Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108 - may be a text
        return os.open(path, flags, 0o666)
