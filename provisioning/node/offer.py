"""Say what a folder holds, by digest, so that the driver can fetch it and prove what arrived."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from provisioning.node import tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


class TooMuchError(Exception):
    """The folder holds more than the driver wants."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"folder", "most": bytes, "skip": [folder names]}`` with ``{"files", "other", "changing"}``.

    ``files`` are [path, size, sha256] of regular files; ``other`` are links, sockets and the like, which are not
    offered; ``changing`` are files that are being written right now.
    """
    root = Path(args["folder"])
    if not root.is_dir():
        return {"files": [], "other": [], "changing": []}
    paths: List[str] = []
    other: List[str] = []
    total = 0
    for base, folders, names in os.walk(root):
        below = Path(base).relative_to(root)
        other += [(below / name).as_posix() for name in folders if Path(base, name).is_symlink()]
        folders[:] = [name for name in folders if name not in args["skip"]]
        for name in names:
            status = Path(base, name).lstat()
            if not stat.S_ISREG(status.st_mode):
                other.append((below / name).as_posix())
                continue
            total += status.st_size
            paths.append((below / name).as_posix())
    if total > args["most"]:
        raise TooMuchError(
            "%s holds %d bytes, at most %d are fetched" % (root, total, args["most"]),
            "look for what an algorithm wrote there, or raise the limit",
        )
    done = [0]

    def progress(size: int) -> None:
        done[0] += size
        channel.event({"title": "read", "done": done[0], "total": total})

    found, failed = tree.rows(str(root), sorted(paths), {}, progress)
    return {
        "files": [[path, row[0], row[4]] for path, row in sorted(found.items())],
        "other": sorted(other),
        "changing": sorted(failed),
    }
