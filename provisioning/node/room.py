"""What a folder that need not exist yet finds, or would find, on its file system."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict


def nearest(path: str) -> str:
    """Return `path` or its nearest ancestor that exists."""
    there = path
    while not os.path.lexists(there):
        there = there.rpartition("/")[0] or "/"
    return there


def room(path: str) -> Dict[str, Any]:
    """Return what is known of the place where `path` is or would be.

    Keys: ``exists``, ``directory`` (of what exists there or nearest above), ``nearest``, ``writable``, ``free`` (bytes
    for this user), ``inodes`` (free; -1 where the file system does not count them), ``device``.
    """
    there = nearest(path)
    status = os.statvfs(there)
    found = os.stat(there)  # noqa: PTH116 - see `observe`: no pathlib
    return {
        "exists": there == path,
        "directory": stat.S_ISDIR(found.st_mode),
        "nearest": there,
        "writable": os.access(there, os.W_OK | os.X_OK) and not status.f_flag & os.ST_RDONLY,
        "free": status.f_bavail * status.f_frsize,
        "inodes": status.f_favail if status.f_files else -1,
        "device": found.st_dev,
    }


def free_memory() -> int:
    """Return the bytes of memory that programs may still take on this machine."""
    from pathlib import Path

    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
