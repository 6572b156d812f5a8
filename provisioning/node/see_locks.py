"""Say who holds which lock of this node, and whether the history of its proofs is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Set

from provisioning.node import history
from provisioning.node.hold_locks import holder_of

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"locks": {folder: lock file}, "history": file}`` with ``{"held": {folder: holder}, …}``.

    ``entries`` counts those of the history, ``broken`` are the positions at which it was changed.
    """
    del channel
    locked = _locked()
    files = {folder: Path(file) for folder, file in args["locks"].items()}
    held = {folder: holder_of(str(file)) for folder, file in files.items() if _inode(file) in locked}
    entries, broken = history.read(args["history"])
    return {"held": held, "entries": len(entries), "broken": broken}


def _locked() -> Set[int]:
    """Return the inodes of all files that a process here has locked; trying a lock would be in others' way."""
    # "1: FLOCK  ADVISORY  WRITE 4711 00:2a:1234 0 EOF"; a layered file system tells another device than stat does
    rows = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return {int(row[5].rpartition(":")[2]) for row in rows if len(row) > 5 and row[1] == "FLOCK"}


def _inode(file: Path) -> int:
    try:
        return file.lstat().st_ino
    except OSError:
        return -1  # nobody has ever locked it
