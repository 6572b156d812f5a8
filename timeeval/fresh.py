"""Writing where an algorithm image has written before: it may have put anything in the place of our files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def fresh(path: Path) -> Iterator[TextIO]:
    """Open a new text file for writing; what has its name, a link or a pipe as well, is removed and never opened.

    Parameters
    ----------
    path : Path
        Its name.

    Raises
    ------
    OSError
        If a folder has its name, or it cannot be made.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123 - a descriptor, not a path
        yield file
