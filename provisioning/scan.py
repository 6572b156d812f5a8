"""Read a folder of the driver into a manifest, reading no file twice that has not changed."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.links import follow, target_of
from provisioning.node import glance, tree
from provisioning.node.landing import CONTROL

if TYPE_CHECKING:
    from provisioning.manifest import Manifest


def scan(
    folder: Path,
    paths: Iterable[str] | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
    conclude: Callable[[Manifest], dict[str, Any] | None] | None = None,
) -> Manifest:
    """Return the manifest of a folder.

    A symbolic link that stays inside the folder is kept as a link, with what it leads to; all others are refused, for
    what they point to is not the same on every node.

    Parameters
    ----------
    folder : Path
        The folder.
    paths : iterable of str or None
        Only these files; all files when None.
    cache : Path or None
        Folder for digests that are already known, by size, times and inode; None reads every file.
    progress : callable or None
        Gets the bytes of each file that was read.
    conclude : callable or None
        Returns what `glanced` is to tell of the whole folder as long as nothing in it changes: JSON values.

    Returns
    -------
    Manifest
        Files with their sizes in bytes and sha256.

    Raises
    ------
    UsageError
        When a file is missing, special, unreadable, changes while it is read, or a link leads outside.
    """
    from provisioning.manifest import Entry, Manifest

    root, since = folder.resolve(), time.time_ns()
    real: set[str] = set()
    links: dict[str, str] = {}
    stamps: dict[str, list[int]] = {}
    if paths is None:
        for path, linked in _files(root, stamps):
            if linked:
                stamps[path] = glance.stamp(f"{root}/{path}")
                links[path] = target_of(root, path)
            else:
                real.add(path)
    else:
        for path in map(_safe, paths):
            on_the_way, file = follow(root, path)
            links.update(on_the_way)
            real.add(_regular(root, file))
    store = None if cache is None else _store(cache, root)
    known = {} if store is None else tree.read_json(str(store)) or {}
    found, failed = tree.rows(str(root), sorted(real), known, progress)
    for path, why in sorted(failed.items()):
        raise UsageError(f"{root / path}: {why}", remedy="mend the file, or take it out of the folder")
    if store is not None and any(known.get(path) != row for path, row in found.items()):
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        tree.write_json(str(store), {**known, **found}, 0o600)
    entries = [Entry(path, row[0], row[4]) for path, row in found.items()]
    entries += [Entry(path, len(os.fsencode(target)), tree.LINK + target) for path, target in links.items()]
    manifest = Manifest.of(entries)
    concluded = None if conclude is None else conclude(manifest)
    if store is not None and concluded is not None:
        glance.note(str(store.with_suffix(".glance")), found, concluded, stamps, since)
    return manifest


def glanced(folder: Path, cache: Path) -> dict[str, Any] | None:
    """Return what was concluded of a folder when it was scanned as a whole, if nothing in it has changed since."""
    root = folder.resolve()
    return glance.unchanged(str(_store(cache, root).with_suffix(".glance")), str(root))


def _store(cache: Path, root: Path) -> Path:
    return cache / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"


def _safe(path: str) -> str:
    try:
        return tree.safe_path(path)
    except ValueError as error:
        raise UsageError(
            f"a path {error}", remedy="paths in an index are relative to its folder and stay below it"
        ) from error


def _files(root: Path, stamps: dict[str, list[int]]) -> Iterator[tuple[str, bool]]:
    """Yield the path of every file and link, and which of the two it is; note the stamp of each folder before that."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            stamps[below] = glance.stamp(f"{root}/{below}")
            with os.scandir(f"{root}/{below}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UsageError(f"{error.filename}: {error.strerror}", remedy="make the folder readable") from error
        for entry in found:
            path = below + entry.name
            if entry.is_symlink():
                yield path, True
            elif not entry.is_dir():
                if not entry.is_file():
                    raise UsageError(f"{root / path} is not a regular file", remedy="take it out of the folder")
                yield path, False
            elif path != CONTROL:
                waiting.append(path + "/")


def _regular(root: Path, path: str) -> str:
    """Return the path of a file, if it is one."""
    file = root / path
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise UsageError(f"{file} is missing", remedy="put the file there, or take it out of the index") from error
    except OSError as error:
        raise UsageError(f"{file}: {error}", remedy="mend the file, or take it out of the folder") from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{file} is not a regular file", remedy="take it out of the folder")
    return path
