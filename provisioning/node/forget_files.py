"""Remove files of a managed folder that its source no longer has: only what we put there, and nothing else."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Dict

from provisioning.node import landing, tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


class NotOursError(Exception):
    """The folder has no marker of ours."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Obey ``{"target", "delete": [path]}``; paths that the marker does not name are left alone."""
    target = args["target"]
    marker = landing.read_marker(target)
    if marker is None:
        raise NotOursError("%s is not a folder of ours" % target, "remove the files by hand")
    paths = [tree.safe_path(path) for path in args["delete"]]
    ours = [path for path in paths if path in marker["files"]]
    for count, path in enumerate(ours):
        _remove(target, path)
        del marker["files"][path]
        channel.event({"title": "delete below " + target, "done": count + 1, "total": len(ours)})
    landing.write_marker(target, marker)
    return {"deleted": len(ours)}


def _remove(target: str, path: str) -> None:
    """Remove a file, and the folders above it that become empty; no link is followed."""
    *above, name = path.split("/")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder = tree.open_folder(target, above)
        try:
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    while above:
        *rest, name = above
        try:
            folder = tree.open_folder(target, rest)
        except OSError:
            return
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError:
            return  # it is not empty, or not a folder: somebody else's
        finally:
            os.close(folder)
        above = rest
