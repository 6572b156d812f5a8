"""Files below a folder: which names are safe, and what their bytes are. Runs on nodes and on the driver."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import BinaryIO

CHUNK = 1 << 20


def safe_path(path: str) -> str:
    """Return `path` if it stays below the folder it is relative to, else raise ValueError."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("not a relative path: %r" % (path,))
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("leaves its folder or is not in its simplest form: %r" % (path,))
    return path


def digest_stream(stream: BinaryIO) -> tuple[str, int]:
    """Return the sha256 (hex) and the length of what a binary stream still holds."""
    sha256, size = hashlib.sha256(), 0
    while True:
        block = stream.read(CHUNK)
        if not block:
            return sha256.hexdigest(), size
        sha256.update(block)
        size += len(block)


def open_inside(root: str, path: str) -> int:
    """Open a regular file below `root` for reading, following no symbolic link below `root`; return the descriptor.

    Raises OSError (ELOOP, ENOTDIR, ENOENT) or ValueError when it is no regular file.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    parts = safe_path(path).split("/")
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # a FIFO under a wanted name must not hang us
        descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file: %r" % (path,))
    return descriptor


def digest_inside(root: str, path: str) -> tuple[str, os.stat_result]:
    """Return the sha256 (hex) and the stat result of a regular file below `root`; links are not followed."""
    with os.fdopen(open_inside(root, path), "rb") as stream:
        digest, _ = digest_stream(stream)
        return digest, os.fstat(stream.fileno())
