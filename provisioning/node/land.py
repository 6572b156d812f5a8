"""Receive files into a managed folder: room first, then stage, proof, and one rename per file."""

from __future__ import annotations

import itertools
import os
import stat

from provisioning.node import landing, tree
from provisioning.node.room import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from provisioning.node.bootstrap import Channel

FEW = 8
"""Files that are made durable one by one: it is sooner done than all that a file system has to write."""

PARTIAL = ".rsync-partial"
MODE = 0o644
"""Of every file, so that a container under another user can read it."""


class LandingError(Exception):
    """The folder cannot take the files."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"action": "prepare" | "commit", "target", "files": [[path, size, sha256]], "last": [path]}``."""
    target = args["target"]
    files = [(tree.safe_path(path), int(size), str(digest)) for path, size, digest in args["files"]]
    if args["action"] == "prepare":
        return prepare(target, files, channel)
    rights = landing.Rights(int(args.get("mode", MODE)), args.get("group"))
    return commit(target, files, [tree.safe_path(path) for path in args["last"]], channel, rights)


def prepare(target: str, files: List[Tuple[str, int, str]], channel: Channel) -> Dict[str, Any]:
    """Make the folder ready; return the stage and the paths that have to be sent.

    Nothing is created before it is known that everything fits.
    """
    marker = landing.read_marker(target)
    known = {} if marker is None else marker["files"]
    wanted = {path: digest for path, _, digest in files}
    total = sum(size for _, size, _ in files)
    done = [0]

    def progress(size: int) -> None:
        done[0] += size
        channel.event({"title": "compare " + target, "done": min(done[0], total), "total": total})

    placed, _ = tree.rows(target, wanted, known, progress)
    if marker is None:
        refuse_foreign(target, sorted(path for path, row in placed.items() if row[4] != wanted[path]))
    staged = {}  # type: Dict[str, tree.Row]
    stage = landing.stage(target)
    if os.path.isdir(stage):  # noqa: PTH112 - here and below: pathlib takes longer to load than a file to arrive
        _sweep(stage, set(wanted))
        staged, _ = tree.rows(stage, wanted, {}, progress)
    right = {path for path, digest in wanted.items() if _has(placed, path, digest) or _has(staged, path, digest)}
    send = [(path, size) for path, size, _ in files if path not in right]
    _check_room(target, send)
    os.makedirs(stage, exist_ok=True)  # noqa: PTH103
    return {"stage": stage, "send": [path for path, _ in send], "bytes": sum(size for _, size in send)}


def refuse_foreign(target: str, foreign: List[str]) -> None:
    """Raise when somebody else's files are where ours belong."""
    if foreign:
        raise LandingError(
            "%s holds %d files that differ from the source and were not put there by us, e.g. %s"
            % (target, len(foreign), foreign[0]),
            "compare them with the source, then move them away or name another path in the cluster file",
        )


def _has(rows: Dict[str, tree.Row], path: str, digest: str) -> bool:
    return path in rows and rows[path][4] == digest


def _check_room(target: str, send: List[Tuple[str, int]]) -> None:
    found = room(target)
    block = 4096
    need = sum(-(-size // block) * block for _, size in send)
    if need and need + need // 100 > found["free"]:
        raise LandingError(
            "%d bytes have to fit on the file system of %s, %d are free" % (need, target, found["free"]),
            "make room there or name a path on another file system in the cluster file; nothing was sent",
        )
    if 0 <= found["inodes"] < len(send) + 16:
        raise LandingError(
            "%d files have to fit on the file system of %s, %d inodes are free" % (len(send), target, found["inodes"]),
            "remove files there or name a path on another file system in the cluster file; nothing was sent",
        )


def _sweep(stage: str, wanted: "set[str]") -> None:
    """Remove from the stage what no one waits for; a half-received file is kept as the basis of the rest."""
    for folder, folders, names in os.walk(stage, topdown=False):
        names += [name for name in folders if os.path.islink(folder + "/" + name)]  # noqa: PTH114
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - a copier that was interrupted may have left any mode
        parts = folder[len(stage) + 1 :].split("/") if folder != stage else []
        if parts and parts[-1] == PARTIAL:
            parts = parts[:-1]
        for name in names:
            if "/".join([*parts, name]) not in wanted:
                os.unlink(folder + "/" + name)  # noqa: PTH108
        if folder != stage and not os.listdir(folder):  # noqa: PTH208
            os.rmdir(folder)  # noqa: PTH106


def commit(
    target: str, files: List[Tuple[str, int, str]], last: List[str], channel: Channel, rights: landing.Rights
) -> Dict[str, Any]:
    """Prove every staged file, then give all of them their final names; ``{"bad": {path: why}}`` when one is not right.

    As long as one file is not right, none is placed: readers never see a folder that is half old and half new for
    longer than the renames take, nor an index that names a file which has not arrived.
    """
    marker = landing.read_marker(target) or {"files": {}}
    stage = landing.stage(target)
    wanted = {path: digest for path, _, digest in files}
    found, _ = tree.rows(target, wanted, marker["files"])
    present = {path: row for path, row in found.items() if row[4] == wanted[path]}
    moving: Dict[str, tree.Row] = {}
    bad = {}
    for path, digest in wanted.items():
        if path in present:
            continue
        try:
            row = tree.row_of(stage, path)
        except FileNotFoundError:
            bad[path] = "did not arrive"
            continue
        if row[4] != digest:
            os.unlink(stage + "/" + path)  # noqa: PTH108
            bad[path] = "arrived with other bytes"
            continue
        moving[path] = row
        channel.event({"title": "verify", "done": len(moving), "total": len(wanted)})
    if bad:
        return {"bad": bad}
    place(target, moving, present, last, rights)
    return {"bad": {}, "placed": len(moving)}


def place(
    target: str, moving: Dict[str, tree.Row], present: Dict[str, tree.Row], last: List[str], rights: landing.Rights
) -> Dict[str, Any]:
    """Give proven files of the stage their names, those of `last` after all others, and write the marker.

    Parameters
    ----------
    target : str
    moving : dict
        Path -> row of what is in the stage.
    present : dict
        Path -> row of what has its name already, and is to be known as ours.
    last : list of str
    rights : Rights
        Of files and of folders that are made.

    Returns
    -------
    dict
        The marker.
    """
    known = landing.read_marker(target)
    marker = known or {"files": {}}
    stage = landing.stage(target)
    os.makedirs(stage, exist_ok=True)  # noqa: PTH103
    if known is None:
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            rights.on_folder(descriptor)
        except PermissionError:
            pass  # somebody else made the folder, and lets us write to it
        finally:
            os.close(descriptor)
    _sync(target, [stage + "/" + path for path, row in moving.items() if not row[4].startswith(tree.LINK)])
    order = [*sorted(set(moving) - set(last)), *[path for path in last if path in moving]]
    placed: Dict[str, tree.Row] = {}
    for above, paths in itertools.groupby(order, lambda path: path.rpartition("/")[0]):
        placed.update(_place(stage, target, above, {path: moving[path] for path in paths}, rights))
    _sweep(stage, set())
    marker["files"] = dict(marker["files"], **present, **placed)
    landing.write_marker(target, marker)
    return marker


def _place(
    stage: str, target: str, above: str, rows: Dict[str, tree.Row], rights: landing.Rights
) -> Dict[str, tree.Row]:
    """Rename files of one folder; return their rows, whose times of change the renames have set."""
    parts = above.split("/") if above else []
    try:
        folder = tree.open_folder(target, parts, create=True, made=rights.on_folder)
    except OSError as error:
        raise LandingError(
            "%s cannot be placed below %s: %s" % (min(rows), target, error),
            "a folder on its way is a link or a file; move that away",
        ) from error
    placed = {}
    try:
        staged = tree.open_folder(stage, parts)
        try:
            for path, row in rows.items():
                name = path.rpartition("/")[2]
                _check(path, row, staged, rights)
                os.rename(name, name, src_dir_fd=staged, dst_dir_fd=folder)
                placed[path] = [*tree.stamp(os.stat(name, dir_fd=folder, follow_symlinks=False)), row[4]]
        finally:
            os.close(staged)
    finally:
        os.close(folder)
    return placed


def _check(path: str, row: tree.Row, staged: int, rights: landing.Rights) -> None:
    """See that what was proven is still this file, which nobody has written to since, and set who may read it."""
    name = path.rpartition("/")[2]
    status = os.stat(name, dir_fd=staged, follow_symlinks=False)
    link = stat.S_ISLNK(status.st_mode)
    expected = link == row[4].startswith(tree.LINK) and (link or stat.S_ISREG(status.st_mode))
    if not expected or [status.st_size, status.st_mtime_ns, status.st_ino] != _kept(row):
        raise LandingError("%s was changed by someone else while it was placed" % path, "run the command again")
    if not link and not rights.hold(status):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=staged)
        try:
            rights.on_file(descriptor)
        finally:
            os.close(descriptor)


def _kept(row: tree.Row) -> List[int]:
    return [row[0], row[1], row[3]]


def _sync(folder: str, files: List[str]) -> None:
    """Make pending writes durable: of many files by those of their file system, once instead of once per file."""
    if len(files) <= FEW:
        for file in files:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), folder)
    finally:
        os.close(descriptor)
