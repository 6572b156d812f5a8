"""What is in the dataset folders of this node, by digest, and whether its own environment has read them."""

from __future__ import annotations

import shutil
from typing import Any, Dict

from provisioning.node import landing, tree
from provisioning.node.room import room


def observe(question: Dict[str, Any]) -> Dict[str, Any]:
    """Answer ``{"folders": [{"path", "digest"}], "python", "proofs"}``.

    Only files that we placed are looked at, and only those are read whose size, times or inode have changed. The rows
    of a folder are left out when they are what the driver asked for, so that nothing to do costs a few bytes.
    """
    python = question["python"]
    environment = landing.environment_stamp(python) if python else None
    return {
        "rsync": shutil.which("rsync"),
        "environment": environment,
        "proofs": tree.read_json(question["proofs"]) or {},
        "folders": {folder["path"]: _folder(folder["path"], folder["digest"]) for folder in question["folders"]},
    }


def _folder(path: str, wanted: str) -> Dict[str, Any]:
    answer = room(path)
    known = landing.read_marker(path)
    answer["marked"] = known is not None
    if known is None:
        return answer
    files = known["files"]
    found, failed = tree.rows(path, sorted(files), files)
    if found != {name: row for name, row in files.items() if name in found} and answer["writable"]:
        # a folder on a read-only mount is still right; it is only read again each time
        known["files"] = dict(files, **found)
        landing.write_marker(path, known)
    rows = [[name, row[0], row[4]] for name, row in sorted(found.items())]
    answer["digest"] = tree.content_digest((name, size, digest) for name, size, digest in rows)
    answer["failed"] = failed
    if answer["digest"] != wanted:
        answer["rows"] = rows
    return answer
