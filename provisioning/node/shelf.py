"""What lies in a store of files known by their content: a look that needs little source to travel (>= 3.8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def stored(store: Path) -> list[list[Any]]:
    """Return [path, size] of every file in a store."""
    if not store.is_dir():
        return []
    files = [file for folder in sorted(store.iterdir()) if owned(folder) for file in sorted(folder.iterdir())]
    return [["%s/%s" % (file.parent.name, file.name), file.lstat().st_size] for file in files]


def owned(folder: Path) -> bool:
    """Return whether a folder in a store has a name that we give: nothing else in it is ours."""
    return len(folder.name) == 16 and not set(folder.name) - set("0123456789abcdef") and folder.is_dir()
