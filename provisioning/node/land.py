"""Receive files into a managed folder: room first, then stage, proof, and one rename per file."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from provisioning.node import landing, tree
from provisioning.node.room import room

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

PARTIAL = ".rsync-partial"


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
    return commit(target, files, [tree.safe_path(path) for path in args["last"]], channel)


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
    foreign = sorted(path for path, row in placed.items() if row[4] != wanted[path] and path not in known)
    if marker is None and foreign:
        raise LandingError(
            "%s holds %d files that differ from the source and were not put there by us, e.g. %s"
            % (target, len(foreign), foreign[0]),
            "compare them with the source, then move them away or name another path in the cluster file",
        )
    staged = {}  # type: Dict[str, tree.Row]
    stage = landing.stage(target)
    if stage.is_dir():
        _sweep(stage, set(wanted))
        staged, _ = tree.rows(str(stage), wanted, {}, progress)
    right = {path for path, digest in wanted.items() if _has(placed, path, digest) or _has(staged, path, digest)}
    send = [(path, size) for path, size, _ in files if path not in right]
    _check_room(target, send)
    stage.mkdir(parents=True, exist_ok=True)
    return {"stage": str(stage), "send": [path for path, _ in send], "bytes": sum(size for _, size in send)}


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


def _sweep(stage: Path, wanted: "set[str]") -> None:
    """Remove from the stage what no one waits for; a half-received file is kept as the basis of the rest."""
    for folder, _, names in os.walk(stage, topdown=False):
        Path(folder).chmod(0o755)  # a copier that was interrupted may have left any mode
        parts = list(Path(folder).relative_to(stage).parts)
        if parts and parts[-1] == PARTIAL:
            parts = parts[:-1]
        for name in names:
            if "/".join([*parts, name]) not in wanted:
                Path(folder, name).unlink()
        if folder != str(stage) and not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def commit(target: str, files: List[Tuple[str, int, str]], last: List[str], channel: Channel) -> Dict[str, Any]:
    """Prove every staged file, then give all of them their final names; ``{"bad": {path: why}}`` when one is not right.

    As long as one file is not right, none is placed: readers never see a folder that is half old and half new for
    longer than the renames take, nor an index that names a file which has not arrived.
    """
    marker = landing.read_marker(target) or {"files": {}}
    known = marker["files"]
    stage = landing.stage(target)
    wanted = {path: digest for path, _, digest in files}
    placed, _ = tree.rows(target, wanted, known)
    moving, bad = [], {}
    for path, digest in wanted.items():
        if _has(placed, path, digest):
            continue
        try:
            row = tree.row_of(str(stage), path)
        except FileNotFoundError:
            bad[path] = "did not arrive"
            continue
        if row[4] != digest:
            (stage / path).unlink()
            bad[path] = "arrived with other bytes"
            continue
        moving.append(path)
        channel.event({"title": "verify", "done": len(moving), "total": len(wanted)})
    if bad:
        return {"bad": bad}
    _sync(target)
    for path in [*sorted(set(moving) - set(last)), *[path for path in last if path in set(moving)]]:
        _place(stage, target, path)
    _sweep(stage, set())
    found, failed = tree.rows(target, wanted, placed)
    if failed or any(found[path][4] != digest for path, digest in wanted.items()):
        names = sorted(failed) or sorted(path for path, digest in wanted.items() if found[path][4] != digest)
        raise LandingError("%s was changed by someone else while it was placed" % names[0], "run the command again")
    marker["files"] = dict(known, **found)
    landing.write_marker(target, marker)
    _sync(target)
    return {"bad": {}, "placed": len(moving)}


def _place(stage: Path, target: str, path: str) -> None:
    parts = path.split("/")
    try:
        folder = tree.open_folder(target, parts[:-1], create=True)
    except OSError as error:
        raise LandingError(
            "%s cannot be placed below %s: %s" % (path, target, error),
            "a folder on its way is a link or a file; move that away",
        ) from error
    try:
        staged = stage / path
        staged.chmod(0o644)
        os.rename(staged, parts[-1], dst_dir_fd=folder)
    finally:
        os.close(folder)


def _sync(folder: str) -> None:
    """Make the file system's pending writes durable, once instead of once per file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), folder)
    finally:
        os.close(descriptor)
