"""Which file system a path lies on."""

from __future__ import annotations

from pathlib import Path

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "beegfs", "ceph", "fuse.sshfs", "fuse.glusterfs"}
    | {"glusterfs", "gpfs", "lustre", "ocfs2", "pvfs2"}
)


def is_network_file_system(path: Path, mounts: str | None = None) -> bool:
    """Tell whether `path` lies on a file system that other machines write to (from /proc/self/mounts)."""
    text = Path("/proc/self/mounts").read_text(encoding="utf-8") if mounts is None else mounts
    target = str(path.resolve())
    best, kind = "", ""
    for line in text.splitlines():
        _, mount_point, file_system, *_ = line.split(" ")
        mount_point = mount_point.encode().decode("unicode_escape")
        inside = target == mount_point or target.startswith(mount_point.rstrip("/") + "/")
        if inside and len(mount_point) >= len(best):
            best, kind = mount_point, file_system
    return kind in _NETWORK
