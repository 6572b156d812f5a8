"""What many jobs have in common, passed on from one worker process of a machine to the others, on workers of others.

It lies in a folder that this user alone may enter, by the SHA-256 of its content, and is believed by that alone. It is
removed with the run; what workers that were killed have left is removed by the next one's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

STALE_SECONDS = 3600.0
"""What was not touched for so long is nobody's: runs that go on touch theirs every few seconds."""


def put(part: str, content: bytes) -> None:
    """Let others of this machine have a part; where that cannot be, each gets it from the driver."""
    folder = _folder(make=True)
    if folder is None:
        return
    partial = folder / f"{part}.{os.getpid()}.{threading.get_ident()}.part"
    with contextlib.suppress(OSError):
        _sweep(folder)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
        partial.replace(folder / part)


def take(part: str) -> bytes | None:
    """Return a part that another worker has put down; None if there is none, or it is not what it is called."""
    folder = _folder()
    if folder is None:
        return None
    try:
        with os.fdopen(os.open(folder / part, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            content = file.read()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == part else None


def touch(part: str) -> None:
    """Say that a part is in use."""
    if (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            os.utime(folder / part)


def drop(part: str) -> None:
    """Remove a part; whoever needs it later gets it from the driver."""
    if (folder := _folder()) is not None:
        with contextlib.suppress(OSError):
            (folder / part).unlink()
            folder.rmdir()  # if it is empty


def _folder(*, make: bool = False) -> Path | None:
    """Return the folder; None where there is none, or it is not this user's alone."""
    folder = Path(tempfile.gettempdir(), f"timeeval-parts-{os.getuid()}")
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if ours else None


def _sweep(folder: Path) -> None:
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if entry.lstat().st_mtime < time.time() - STALE_SECONDS:
                entry.unlink()
