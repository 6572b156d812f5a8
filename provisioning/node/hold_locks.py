"""Hold locks for as long as the driver lives: the kernel frees them when this program ends, however it ends.

A driver that vanishes without a word, by a power cut or a cut cable, leaves a connection that stands for hours; so it
has to say now and then that it is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from provisioning.node import mark_places
from provisioning.node.quick import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from provisioning.node.bootstrap import Channel


PATIENT = 10
"""Times the silence that is allowed to a driver whose other nodes have yet to look for marks."""


class HeldError(Exception):
    """Another command holds the lock."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Obey ``{"do": "mark" | "lock" | "take" | "free", ...}``, one answer each; locks stay while the driver speaks.

    ``mark`` is for `provisioning.node.mark_places`; ``lock`` takes ``{"locks": {folder: lock file}, "holder"}``; for
    ``take`` see `provisioning.node.take`.
    ``args["silence"]`` is how many seconds it may say nothing.
    """
    descriptors: List[int] = []
    try:
        while True:
            asked = channel.receive(args["silence"] * (1 if descriptors else PATIENT))
            if asked is None or asked.get("do") == "free":
                return {}
            if asked.get("do") == "mark":
                channel.event(mark_places.main(asked["args"], channel))
            elif asked.get("do") == "lock":
                for folder, file in sorted(asked["locks"].items()):
                    # one by one: what is locked must be known when the next lock fails
                    descriptors.append(_lock(folder, file, asked["holder"]))
                channel.event({"locked": True})
            elif asked.get("do") == "take":
                from provisioning.node.take import take

                answer = take(asked, channel, args["silence"])
                if answer is None:
                    return {}
                channel.event(answer)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _lock(folder: str, path: str, holder: Dict[str, Any]) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib takes longer to load
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        # the file of another user of a shared folder: it can be locked, but not say who does
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise HeldError(
            "%s is being changed by %s" % (folder, holder_of(path)),
            "wait until that command has ended, then run this one",
        ) from error
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, dumps(holder).encode(), 0)
    return descriptor


def holder_of(path: str) -> str:
    """Return who wrote their name into a lock file."""
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123
            holder = loads(stream.read())
        return "%(user)s on %(host)s (process %(pid)s, since %(since)s: %(command)s)" % holder
    except (OSError, ValueError, KeyError, TypeError):
        return "another command that left no name"
