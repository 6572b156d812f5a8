"""A folder at a glance: whether every file of it is what it was, without reading what is known of each.

Beside a table of rows, a second file holds the same stamps (size, times, inode) as numbers, with what was concluded
from the rows. Whoever finds all stamps unchanged needs neither the rows nor the conclusion anew; everything else, such
as a file that is no glance, is no error but a longer look. Runs on nodes and on the driver.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array

from provisioning.node import tree
from provisioning.node.quick import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional

SCHEMA = "timeeval.glance/1"


def note(
    file: str, rows: Mapping[str, List[Any]], found: Dict[str, Any], others: Mapping[str, List[int]], since: int
) -> None:
    """Write what was found of the files of a folder; where that cannot be, or something is too young, nothing is.

    Parameters
    ----------
    file : str
    rows : mapping
        Path below the folder -> ``[size, mtime_ns, ctime_ns, inode, ...]``.
    found : dict
        What `unchanged` is to return; JSON values.
    others : mapping
        Path below the folder of what has to be unchanged as well (a folder, a link) -> its `stamp` before it was read.
    since : int
        Before the first stamp was taken, in nanoseconds. What had changed a moment before that may have changed again
        without a trace, after it was read.
    """
    try:
        stamps = array("q", [number for row in (*rows.values(), *others.values()) for number in row[:4]])
        data = os.fsencode("\0".join([*rows, *others]))
    except (OverflowError, TypeError, ValueError):
        return
    settled = max((tree.settled_at(ctime) for ctime in stamps[2::4]), default=0)
    if since <= settled:
        return
    head = {"schema": SCHEMA, "order": sys.byteorder, "count": len(stamps) // 4, "found": found}
    scratch = "%s.%d.part" % (file, os.getpid())
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as stream:
            body = dumps(head).encode("ascii") + b"\n" + stamps.tobytes() + data
            stream.write(struct.pack(">I", zlib.crc32(body)) + body)
        os.rename(scratch, file)  # noqa: PTH104
    except OSError:
        os.unlink(scratch)  # noqa: PTH108


def unchanged(file: str, root: str) -> Optional[Dict[str, Any]]:
    """Return what was found when `note` wrote the file, if nothing has changed since; else None."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            whole = stream.read()
        if whole[:4] != struct.pack(">I", zlib.crc32(whole[4:])):
            return None
        line, _, rest = whole[4:].partition(b"\n")
        head = loads(line)
        end = 32 * int(head["count"])
        if head["schema"] != SCHEMA or head["order"] != sys.byteorder:
            return None
        seen, lstat, below = [], os.lstat, root + "/"  # type: List[int], Any, str
        for name in os.fsdecode(rest[end:]).split("\0"):
            # plain numbers: this is all that is done for each file of a folder in which nothing has changed
            status = lstat(below + name)
            seen += (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        found: Dict[str, Any] = head["found"]
        return found if array("q", seen).tobytes() == rest[:end] else None
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError):
        return None


def stamp(path: str) -> List[int]:
    """Return what tells whether a file, link or folder is what it was."""
    return tree.stamp(os.lstat(path))
