"""What is in the dataset folders of this node, by digest, and whether its own environment has read them."""

from __future__ import annotations

import os
import time

from provisioning.node import landing, tree
from provisioning.node.room import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

BEATS = True


def observe(question: Dict[str, Any], beat: Callable[[], None] = lambda: None) -> Dict[str, Any]:
    """Answer ``{"folders": [{"path", "digest", "parts", "files"}], "python", "proofs", "deep"}``.

    Only files that we placed are looked at, and only those are read whose size, times or inode have changed; with
    ``deep`` all of them. Of a folder that is not what the driver asked for, the rows of those of its ``parts`` are told
    that differ, so that nothing or little to do costs a few bytes.
    """
    python = question["python"]
    stamp = landing.environment_stamp(python) if python else None
    proofs = tree.read_json(question["proofs"]) or {}
    answer: Dict[str, Any] = {"rsync": _found("rsync"), "environment": stamp is not None, "folders": {}}
    for asked in question["folders"]:
        folder = _folder(asked, bool(question.get("deep")), beat)
        folder["proven"] = stamp is not None and _proven(proofs.get(asked["path"]), stamp, asked)
        answer["folders"][asked["path"]] = folder
    return answer


def _proven(proof: Optional[Dict[str, Any]], stamp: List[int], asked: Dict[str, Any]) -> bool:
    """Return whether this environment has read all that is asked for; `files` (path -> sha256) names a part of it."""
    if not proof or proof["environment"] != stamp:
        return False
    files = asked["files"]
    return proof["digest"] == asked["digest"] or (
        files is not None and all(proof["files"].get(path) == digest for path, digest in files.items())
    )


def _folder(asked: Dict[str, Any], deep: bool, beat: Callable[[], None]) -> Dict[str, Any]:
    path, since = asked["path"], time.time_ns()
    answer = room(path)
    seen = {} if deep else landing.glanced(path)
    if seen.get("digest") == asked["digest"]:
        answer.update(marked=True, failed={}, digest=asked["digest"])
        return answer
    stamp = landing.marker_stamp(path)
    known = landing.read_marker(path)
    answer["marked"] = known is not None
    if known is None:
        return answer
    files = known["files"]
    if seen and seen["digest"] == known.get("digest"):
        found, answer["failed"] = files, {}
    else:
        seen = {}
        found, answer["failed"] = tree.rows(path, files, {} if deep else files, lambda _: beat())
    if found == files and "digest" in known:
        answer["digest"] = known["digest"]
        if stamp is not None and answer["writable"] and known["digest"] == asked["digest"]:
            # who has the same has it in the same parts
            landing.glance_at(path, known, asked.get("parts", []), stamp, since)
    elif found != {name: row for name, row in files.items() if name in found} and answer["writable"]:
        # a folder on a read-only mount is still right; it is only read again each time
        known["files"] = dict(files, **found)
        landing.write_marker(path, known)
    if answer.get("digest") != asked["digest"]:
        _tell_apart(answer, found, asked, seen.get("parts", []))
    return answer


def _tell_apart(answer: Dict[str, Any], found: Dict[str, tree.Row], asked: Dict[str, Any], known: List[str]) -> None:
    """Tell the rows of those parts that differ from what the driver asked for; `known` are digests of ours, if any."""
    parts = asked.get("parts", [""])
    own = tree.parted(((name, [name, row[0], row[4]]) for name, row in found.items()), len(parts))
    if "digest" not in answer:
        answer["digest"] = tree.content_digest((name, row[0], row[4]) for name, row in found.items())
    if answer["digest"] != asked["digest"]:
        digests = known if len(known) == len(parts) else [tree.part_digest(rows) for rows in own]
        answer["parts"] = [number for number, digest in enumerate(digests) if digest != parts[number]]
        answer["rows"] = sorted(row for number in answer["parts"] for row in own[number])


def _found(program: str) -> Optional[str]:
    """Return where a program is, as `shutil.which`, which takes longer to import than all that is done here."""
    files = (folder + "/" + program for folder in os.environ.get("PATH", "").split(":") if folder)
    return next((file for file in files if os.access(file, os.X_OK)), None)
