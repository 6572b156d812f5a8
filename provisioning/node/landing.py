"""The control folder inside a managed folder: our marker, what we placed, and where files arrive."""

from __future__ import annotations

import os
import stat

from provisioning.node import glance, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Dict, List, Optional, Tuple

CONTROL = ".timeeval-sync"
MARKER = CONTROL + "/manifest.json"
SCHEMA = "timeeval.sync/1"


REMEMBERED = 20_000
"""Files of a folder whose marker a process keeps in memory, at most."""

_last: Dict[str, Tuple[List[int], Dict[str, Any]]] = {}


class NoGroupError(Exception):
    """The node has no group of that name, or the user is not in it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Rights:
    """Who may read what is placed, whatever the umask: files get `mode`, folders can be entered by who may read.

    Parameters
    ----------
    mode : int
    group : str or None
        None leaves the group as the system sets it.
    """

    def __init__(self, mode: int = 0o644, group: Optional[str] = None) -> None:
        self.file = mode
        self.folder = mode | (mode & 0o444) >> 2
        self._group = group
        self._gid = -1
        if group is not None:
            import grp

            try:
                self._gid = grp.getgrnam(group).gr_gid
            except KeyError:
                raise NoGroupError("there is no group %s" % group, "make it there, or name another") from None

    def on_file(self, descriptor: int) -> None:
        """Set them on an open file."""
        os.fchmod(descriptor, self.file)
        self._own(descriptor)

    def on_folder(self, descriptor: int) -> None:
        """Set them on an open folder."""
        os.fchmod(descriptor, self.folder)
        self._own(descriptor)

    def _own(self, descriptor: int) -> None:
        if self._gid >= 0 and os.fstat(descriptor).st_gid != self._gid:
            try:
                os.fchown(descriptor, -1, self._gid)
            except PermissionError:
                message = "this user may not give files to the group %s" % self._group
                raise NoGroupError(message, "add the user to that group, or name another") from None

    def hold(self, status: os.stat_result) -> bool:
        """Return whether a file has them."""
        return status.st_mode & 0o7777 == self.file and self._gid in (-1, status.st_gid)


def control(folder: str) -> Path:
    """Return the control folder; ValueError when something else has taken its name."""
    from pathlib import Path

    return Path(_control(folder))


def _control(folder: str) -> str:
    path = folder + "/" + CONTROL
    try:
        ours = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        ours = True
    if not ours:
        raise ValueError("%s is not a folder, and not ours" % path)
    return path


def stage(folder: str) -> str:
    """Return the folder in which files arrive; on the same file system as their final names."""
    return _control(folder) + "/stage"


def read_marker(folder: str) -> Optional[Dict[str, Any]]:
    """Return the marker ``{"schema", "files": {path: row}}``; None when the folder is not ours."""
    _control(folder)
    stamp = marker_stamp(folder)
    last = _last.get(folder)
    if stamp is not None and last is not None and last[0] == stamp:
        return dict(last[1], files=dict(last[1]["files"]))
    marker = tree.read_json(folder + "/" + MARKER)
    if not isinstance(marker, dict) or marker.get("schema") != SCHEMA or not isinstance(marker.get("files"), dict):
        return None
    _remember(folder, stamp, marker)
    return marker


def _remember(folder: str, stamp: Optional[List[int]], marker: Dict[str, Any]) -> None:
    """Let the marker not be read again by this process, which looks before and after a change."""
    _last.pop(folder, None)
    if stamp is not None and len(marker["files"]) <= REMEMBERED:
        _last[folder] = (stamp, dict(marker, files=dict(marker["files"])))


def glanced(folder: str) -> Dict[str, Any]:
    """Return digest and parts of a folder of ours in which nothing has changed since `glance_at`; else nothing."""
    return glance.unchanged(_control(folder) + "/glance", folder) or {}


def marker_stamp(folder: str) -> Optional[List[int]]:
    """Return what tells whether the marker is the same; None when there is none."""
    try:
        return glance.stamp(folder + "/" + MARKER)
    except OSError:
        return None


def glance_at(folder: str, marker: Dict[str, Any], parts: List[str], stamp: List[int], since: int) -> None:
    """Let the next look at a folder that is as the marker says, and has these parts, be a glance.

    `stamp` was taken before the marker was read, after `since`.
    """
    found = {"digest": marker["digest"], "parts": parts}
    glance.note(_control(folder) + "/glance", marker["files"], found, {MARKER: stamp}, since)


def write_marker(folder: str, marker: Dict[str, Any]) -> None:
    """Write the marker, and with it the digest of what it names: most often it is asked for that alone."""
    rows = [(path, row[0], row[4]) for path, row in marker["files"].items()]
    whole = dict(marker, schema=SCHEMA, digest=tree.content_digest(rows))
    _control(folder)
    tree.write_json(folder + "/" + MARKER, whole)
    _remember(folder, marker_stamp(folder), whole)


def environment_stamp(python: str) -> Optional[List[int]]:
    """Return what changes when an environment is switched, or None when there is no such interpreter.

    An environment is put in place by rename, so the identity of its ``pyvenv.cfg`` file tells which one it is.
    """
    from pathlib import Path

    prefix = Path(python).parent.parent
    try:
        status = Path(python).stat()
        if (prefix / "pyvenv.cfg").exists():
            status = (prefix / "pyvenv.cfg").stat()
    except OSError:
        return None
    return [status.st_ino, status.st_mtime_ns]
