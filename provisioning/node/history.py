"""A history that is only ever added to: one JSON object per line, each naming the digest of the line before it.

Runs on nodes and on the driver (standard library, Python >= 3.8). What somebody changed or took out in the middle
breaks the chain; the oldest lines are dropped when there are too many.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

FIRST = "0" * 64
MOST = 100


def append(path: str, entry: Dict[str, Any], most: int = MOST) -> None:
    """Add an entry; at most `most` are kept."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # beside the history, which is replaced when it is shortened
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = _lines(file)
        last = _digest(lines[-1]) if lines else FIRST
        kept = [*lines[max(0, len(lines) + 1 - most) :], json.dumps(dict(entry, previous=last), sort_keys=True)]
        scratch = Path(path + ".part")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write("".join(line + "\n" for line in kept))
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        os.close(lock)


def read(path: str) -> Tuple[List[Dict[str, Any]], List[int]]:
    """Return the entries, oldest first, and the positions of those that do not follow from the one before them."""
    entries: List[Dict[str, Any]] = []
    broken: List[int] = []
    before = None
    for line in _lines(Path(path)):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            entry = {}
        if not entry or (before is not None and entry.get("previous") != before):
            broken.append(len(entries))
        entries.append(entry)
        before = _digest(line)
    return entries, broken


def _lines(file: Path) -> List[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if line]
    except FileNotFoundError:
        return []


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode("utf-8", "replace")).hexdigest()
