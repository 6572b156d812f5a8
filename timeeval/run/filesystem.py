"""Which file system a path lies on."""

from __future__ import annotations

import re
from pathlib import Path

_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "wekafs"}
)


def is_network_file_system(path: Path, mounts: str | None = None) -> bool:
    """Tell whether other machines may write to the file system of `path` (from /proc/self/mounts).

    What a FUSE program has behind it cannot be known, so each counts as a network's (``fuseblk`` is a disk).
    """
    if mounts is None:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    target = str(path.resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        _, mount_point, file_system, *_ = line.split(" ")
        mount_point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount_point)
        inside = target == mount_point or target.startswith(mount_point.rstrip("/") + "/")
        if inside and len(mount_point) >= len(best):
            best, kind = mount_point, file_system
    return kind in _NETWORK or kind == "fuse" or kind.startswith("fuse.")
