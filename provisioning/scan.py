"""Read a folder of the driver into a manifest, reading no file twice that has not changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from provisioning.errors import UsageError
from provisioning.manifest import Entry, Manifest
from provisioning.node import tree
from provisioning.node.landing import CONTROL


def cache_folder() -> Path:
    """Return the folder for what can be computed again: ``$XDG_CACHE_HOME/timeeval-cluster`` or the one in the home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "timeeval-cluster"


def scan(
    folder: Path,
    paths: Iterable[str] | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Return the manifest of a folder.

    A symbolic link to a file inside the folder counts as that file; all other links are refused, for what they point to
    is not the same on every node.

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

    Returns
    -------
    Manifest
        Files with their sizes in bytes and sha256.

    Raises
    ------
    UsageError
        When a file is missing, special, unreadable, changes while it is read, or a link leads outside.
    """
    root = folder.resolve()
    real = {path: _inside(root, path) for path in (_files(root) if paths is None else map(_safe, paths))}
    store = None if cache is None else cache / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    known = {} if store is None else tree.read_json(str(store)) or {}
    found, failed = tree.rows(str(root), sorted(set(real.values())), known, progress)
    for path, why in sorted(failed.items()):
        raise UsageError(f"{root / path}: {why}", remedy="mend the file, or take it out of the folder")
    if store is not None and any(known.get(path) != row for path, row in found.items()):
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        tree.write_json(str(store), {**known, **found}, 0o600)
    rows = {path: found[target] for path, target in real.items()}
    return Manifest.of(Entry(path, row[0], row[4]) for path, row in rows.items())


def _safe(path: str) -> str:
    try:
        return tree.safe_path(path)
    except ValueError as error:
        raise UsageError(
            f"a path {error}", remedy="paths in an index are relative to its folder and stay below it"
        ) from error


def _files(root: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise UsageError(f"{error.filename}: {error.strerror}", remedy="make the folder readable") from error

    for base, folders, names in os.walk(root, onerror=stop):
        below = Path(base).relative_to(root)
        if below == Path():
            folders[:] = [name for name in folders if name != CONTROL]
        for name in folders:
            if Path(base, name).is_symlink():
                raise UsageError(
                    f"{Path(base, name)} is a link to a folder", remedy="put the folder itself there, or take it out"
                )
        yield from ((below / name).as_posix() for name in names)


def _inside(root: Path, path: str) -> str:
    """Return where the bytes of `path` are, below `root`."""
    file = root / path
    try:
        target = file.resolve(strict=True)
        status = target.stat()
    except FileNotFoundError as error:
        what = "a link to nothing" if file.is_symlink() else "missing"
        raise UsageError(f"{file} is {what}", remedy="put the file there, or take it out of the index") from error
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{file}: {error}", remedy="mend the file, or take it out of the folder") from error
    if not target.is_relative_to(root):
        raise UsageError(f"{file} is a link out of {root}", remedy="put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{file} is not a regular file", remedy="take it out of the folder")
    return target.relative_to(root).as_posix()
