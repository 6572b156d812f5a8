"""A store of files known by their content: a folder of ``<first 16 digits of its sha256>/<name>``."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Iterable

from provisioning.node.shelf import stored
from provisioning.node.tree import digest_stream, read_json, write_json

WISHES = "wishes"


def damaged(store: Path, files: Iterable[Any]) -> list[str]:
    """Return the paths of [path, size, sha256] that are missing or hold other bytes; the latter are removed.

    What is removed is sent anew by the next run: a store holds copies only.
    """
    wrong = []
    for path, _, sha256 in files:
        file = store / path
        try:
            with file.open("rb") as handle:
                found, _ = digest_stream(handle)
        except FileNotFoundError:
            wrong.append(path)
            continue
        if found != sha256:
            file.unlink()
            wrong.append(path)
    return wrong


def wishes(store: Path, user: Path, wanted: Iterable[str]) -> set[str]:
    """Note what a user of a store wants from now on, and return what all of its users want.

    Parameters
    ----------
    store : Path
    user : Path
        What is made of the files, e.g. the prefix of an environment; one that is there no more wants nothing.
    wanted : iterable of str
        Paths in the store.
    """
    folder = store / WISHES
    folder.mkdir(exist_ok=True)
    own = folder / (hashlib.sha256(str(user).encode()).hexdigest()[:16] + ".json")
    write_json(str(own), {"user": str(user), "wanted": sorted(wanted)})
    every = set()
    for note in folder.glob("*.json"):
        noted = read_json(str(note))
        if isinstance(noted, dict) and (note == own or Path(noted["user"]).exists()):
            every.update(noted["wanted"])
        else:
            note.unlink()
    return every


def forget(store: Path, wanted: Iterable[str]) -> None:
    """Remove from a store what is not among the paths `wanted`."""
    keep = set(wanted)
    for path, _ in stored(store):
        if path not in keep:
            file = store / path
            file.unlink()
            if not any(file.parent.iterdir()):
                file.parent.rmdir()


def sweep(store: Path, most: int, used: Iterable[str]) -> list[str]:
    """Remove what was not used for longest until a store holds at most so many bytes; return the paths.

    Parameters
    ----------
    store : Path
    most : int
        Bytes.
    used : iterable of str
        Paths that are used now; they count as fresh and stay in any case.
    """
    kept = set(used)
    for path in kept:
        with contextlib.suppress(FileNotFoundError):
            os.utime(store / path)
    files = stored(store)
    total = sum(size for _, size in files)
    removed = []
    for path, size in sorted(files, key=lambda row: (store / row[0]).lstat().st_mtime):
        if total <= most:
            break
        if path not in kept:
            removed.append(path)
            total -= size
    forget(store, {path for path, _ in files} - set(removed))
    return removed
