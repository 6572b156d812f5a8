"""Take the few small files that folders lack over the line that holds their locks, and give them their names.

For more than that there is `provisioning.node.relay`; whatever is not plain is left to it.
"""

from __future__ import annotations

import zlib

from provisioning.node import tree
from provisioning.node.arrival import Folder, Sorter
from provisioning.node.landing import Rights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from provisioning.node.bootstrap import Channel

BLOCK = 4096
SPARE = 64
"""Blocks and inodes that stay free in any case: where it is so narrow, room is counted exactly, by others."""


def take(asked: Dict[str, Any], channel: Channel, patience: float) -> Optional[Dict[str, Any]]:
    """Take ``{"folders": [{"target", "last", "mode", "group", "files": [[path, size, sha256]]}]}`` and their bytes.

    The bytes of all files follow as one piece of data, packed by zlib. Answers ``{"settled": {"files", "size"}}``,
    ``{"bad": {folder: {path: why}}}`` or ``{"refused": why}``; with the latter two nothing has a new name. None when
    the driver is gone.
    """
    packed = _piece(channel, patience)
    if packed is None:
        return None
    folders: Dict[int, Folder] = {}
    rows: List[List[Any]] = []
    for number, each in enumerate(asked["folders"]):
        folders[number] = Folder(each["target"], each["last"], Rights(int(each["mode"]), each["group"]))
        for path, size, digest in each["files"]:
            link = digest.startswith(tree.LINK)
            rows.append([number, path, size, digest, size if link else 0])
    total = sum(size - begin for _, _, size, _, begin in rows)
    sorter = Sorter(folders)
    try:
        why = _obstacle(folders, total, len(rows), channel)
        if why is not None:
            return {"refused": why}
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, total + 1)
        sorter.order(rows)
        sorter.take(data)
        sorter.finish()
        bad = {str(number): folder.bad for number, folder in folders.items() if folder.bad}
        if bad:
            return {"bad": bad}
        for folder in folders.values():
            folder.settle()
    except Exception as error:  # noqa: BLE001 - the locks are held on; who takes it over meets the same, and tells it
        return {"refused": "%s: %s" % (type(error).__name__, error)}
    finally:
        sorter.close()
    return {"settled": {"files": sorter.files, "size": sorter.size}}


def _obstacle(folders: Dict[int, Folder], size: int, files: int, channel: Channel) -> Optional[str]:
    """Say what is not plain here."""
    done = [0]

    def progress(count: int) -> None:
        done[0] += count
        channel.event({"title": "compare", "done": done[0], "total": done[0], "unit": "B"})

    for folder in folders.values():
        folder.look(progress)
        state = folder.state()
        room = state["room"]
        if state["foreign"] or not room["directory"]:
            return "%s is not ours yet" % folder.target
        if room["free"] < size + size // 100 + BLOCK * (files + SPARE) or 0 <= room["inodes"] < files + SPARE:
            return "there is little room"
    return None


def _piece(channel: Channel, patience: float) -> Optional[bytes]:
    """Wait for the bytes; between them and the order the driver may say that it is there."""
    while True:
        said = channel.either(patience)
        if said is None or isinstance(said, bytes):
            return said
