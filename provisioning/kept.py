"""What this user's commands remember because computing it again would take longer: never believed of anybody else."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from provisioning.node import tree

__all__ = ["cache_folder", "keep", "made", "recall"]


def cache_folder() -> Path:
    """Return the folder for what can be computed again: ``$XDG_CACHE_HOME/timeeval-cluster`` or the one in the home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "timeeval-cluster"


def recall(file: Path) -> Any:  # noqa: ANN401 - whatever JSON it holds
    """Return a JSON document that `keep` wrote; None when there is none, or somebody else could have written it."""
    try:
        found = file.lstat()
    except OSError:
        return None
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return tree.read_json(str(file)) if ours else None


def keep(file: Path, document: object) -> None:
    """Remember a JSON document; where nothing can be written nothing is remembered."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        tree.write_json(str(file), document, 0o600)


def made(name: str, make: Callable[[], tuple[bytes, Iterable[str]]]) -> bytes:
    """Return bytes that are made of files: those of an earlier command as long as none of the files has changed.

    What another installation of this package has made is never taken: its files are others, and have not changed.

    Parameters
    ----------
    name : str
        What is made, and of which files where that is not the same for all of this installation.
    make : callable
        Makes it; returns it and the files that it was made of.

    Returns
    -------
    bytes
    """
    mark = hashlib.sha256(os.fsencode(f"{name}\0{Path(__file__).resolve()}")).hexdigest()[:32]
    store = cache_folder() / "made" / f"{mark}.json"
    known = recall(store)
    try:
        if known is not None and known["files"] == _stamps(known["files"]):
            return base64.b64decode(known["data"], validate=True)
    except (KeyError, OSError, TypeError, binascii.Error):
        pass
    data, files = make()
    keep(store, {"files": _stamps(files), "data": base64.b64encode(data).decode()})
    return data


def _stamps(files: Iterable[str]) -> dict[str, list[int]]:
    seen = {str(file): os.stat(file) for file in files}  # noqa: PTH116 - each of many, whenever a command begins
    return {file: [status.st_size, status.st_mtime_ns, status.st_ino] for file, status in seen.items()}
