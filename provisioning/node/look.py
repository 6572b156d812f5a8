"""One short look at a node: enough to tell whether it still is what it was when it was verified (Python >= 3.8).

Nothing is read that a stat can tell: what was proven by digest is compared by size, time of change and inode.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import adopted, docker, records, tree, venvs
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"prefix": path or None, "files": {folder: [path]}, "images": [name]}; tells its clock at once.

    ``"adopted": [minor version, path of the note]`` stands for an environment that others made.
    With ``"read": true`` it also answers the ``digests`` of the files, for who has none to compare with.
    """
    channel.event({"title": "look", "clock": time.time()})
    prefix, read = args["prefix"], args.get("read", False)
    return {
        "machine_id": _read("/etc/machine-id"),
        "boot_id": _boot(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "environment": _environment(Path(prefix), args.get("adopted")) if prefix else None,
        "files": {folder: {path: stamp(folder, path) for path in paths} for folder, paths in args["files"].items()},
        **_engine(args["images"]),
        **({"digests": {folder: digests(folder, paths) for folder, paths in args["files"].items()}} if read else {}),
    }


def _environment(prefix: Path, adoption: list[str] | None) -> dict[str, Any]:
    seen = venvs.look(prefix) if adoption is None else adopted.look(prefix, adoption[0], Path(adoption[1]))
    answer = {key: seen.get(key) for key in ("state", "lock", "identity", "edited", "python", "compiled")}
    answer["records"] = {} if seen.get("identity") is None else record_rows(str(venvs.site_packages(prefix)))
    return answer


def record_rows(folder: str) -> dict[str, list[Any]]:
    """Return {path of a RECORD: [sha256, size, mtime_ns, inode, ctime_ns]} of all that is installed in a folder."""
    rows = {}
    for name in records.distributions(folder):
        try:
            size, mtime, ctime, inode, digest = tree.row_of(folder, name + "/RECORD")
        except (OSError, ValueError):
            continue  # what wrote none is known by its name and version alone
        rows["%s/%s/RECORD" % (folder, name)] = [digest, size, mtime, inode, ctime]
    return rows


def _engine(names: list[str]) -> dict[str, Any]:
    if not names:
        return {"engine": None, "images": {}, "equal": {}, "why": ""}
    try:
        engine = docker.engine()
        images = docker.inspect(names)
    except RefusedError as error:
        return {"engine": None, "images": dict.fromkeys(names), "equal": {}, "why": str(error)}
    return {
        "engine": {"version": engine["version"], "store": engine["store"]},
        "images": {name: None if seen is None else seen["id"] for name, seen in images.items()},
        "equal": {name: [seen["print"], seen["context"] or ""] for name, seen in images.items() if seen is not None},
        "why": "",
    }


def stamp(folder: str, path: str) -> list[int] | None:
    """Return [size, mtime_ns, inode, ctime_ns] of a regular file below a folder; None when there is none.

    A link is followed as far as it stays in the folder.
    """
    try:
        real = Path(folder, path).resolve(strict=True).relative_to(Path(folder).resolve())
        descriptor = tree.open_inside(folder, real.as_posix())
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]
    finally:
        os.close(descriptor)


def digests(folder: str, paths: list[str]) -> dict[str, str]:
    """Return the sha256 (hex) of those files below a folder that can be read."""
    found = {}
    for path in paths:
        try:
            found[path] = tree.row_of(folder, path)[4]
        except (OSError, ValueError):
            continue  # its stamp says that there is none
    return found


def _boot() -> str:
    """Return what changes when the machine starts anew; a container keeps the kernel's id, not its first process."""
    fields = _read("/proc/1/stat").rpartition(")")[2].split()
    return "%s/%s" % (_read("/proc/sys/kernel/random/boot_id"), fields[19] if len(fields) > 19 else "?")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
