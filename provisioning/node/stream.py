"""What travels down a chain of nodes: orders, which say whose bytes follow, and blocks of these bytes, packed once.

An order is a list of ``[parcel, path, size, sha256, from]``; the blocks that follow are the files of all orders, each
from its byte `from` on, one after another, cut anywhere. Nodes pass frames on as they came.
"""

from __future__ import annotations

import collections
import os
import select
import struct
import threading

from provisioning.node import codec
from provisioning.node.quick import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Optional

HEAD = struct.Struct(">cBII")
ORDER, BLOCK, BEAT, END = b"O", b"B", b"H", b"E"
BROKEN = b"X"
"""Never travels: the end of a stream that has no end, for who waits for its frames."""

BLOCK_SIZE = 1 << 17
LARGEST = 1 << 24
MOST_WAITING = 1 << 23
"""Bytes that wait at one place of a chain at most; beyond it the way back is blocked."""


class NoDoorError(Exception):
    """Nobody can be let in here, or reached from here."""


class Frame:
    """One frame: what it is, how it is packed, its size unpacked, and its packed bytes."""

    __slots__ = ("codec", "kind", "packed", "size")

    def __init__(self, kind: bytes, by: int = codec.RAW, size: int = 0, packed: bytes = b"") -> None:
        self.kind = kind
        self.codec = by
        self.size = size
        self.packed = packed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self.head() == other.head() and self.packed == other.packed

    def __hash__(self) -> int:
        return hash((self.head(), self.packed))

    def head(self) -> bytes:
        """Return the bytes that go before `packed`."""
        return HEAD.pack(self.kind, self.codec, len(self.packed), self.size)

    def unpack(self) -> bytes:
        """Return the bytes as they were; ValueError when they are damaged."""
        return codec.unpack(self.codec, self.packed, self.size)


def made(kind: bytes, data: bytes, by: int) -> Frame:
    """Pack data into a frame."""
    used, packed = codec.pack(by, data)
    return Frame(kind, used, len(data), packed)


def order(rows: List[Any], by: int) -> Frame:
    """Pack an order."""
    return made(ORDER, dumps(rows).encode("ascii"), by)


def parse(data: bytes) -> Frame:
    """Read one whole frame; ValueError when it is none."""
    if len(data) < HEAD.size:
        raise ValueError("a frame is cut short")
    kind, by, length, size = HEAD.unpack_from(data)
    if kind not in (ORDER, BLOCK, BEAT, END) or length > LARGEST or size > LARGEST or HEAD.size + length != len(data):
        raise ValueError("this is no frame")
    return Frame(kind, by, size, data[HEAD.size :])


def read(descriptor: int, patience: float) -> Optional[Frame]:
    """Wait for the next frame on a descriptor; None at the end. ValueError when something else comes.

    TimeoutError when nothing comes for `patience` seconds: who has nothing to send sends beats.
    """
    head = _exactly(descriptor, HEAD.size, patience)
    if head is None:
        return None
    length = HEAD.unpack(head)[2]
    if length > LARGEST:
        raise ValueError("a frame of %d bytes was announced" % length)
    body = _exactly(descriptor, length, patience)
    return None if body is None else parse(head + body)


def _exactly(descriptor: int, count: int, patience: float) -> Optional[bytes]:
    parts = []
    while count:
        if not select.select([descriptor], [], [], patience)[0]:
            raise TimeoutError("nothing came for %g s" % patience)
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def write(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Waiting:
    """Frames between two threads, bounded by their bytes."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._frames: Deque[Frame] = collections.deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Add a frame; waits as long as there are too many. Into a closed one it vanishes."""
        with self._changed:
            while self._bytes > self._most and not self._closed:
                self._changed.wait()
            if not self._closed:
                self._frames.append(frame)
                self._bytes += len(frame.packed)
                self._changed.notify_all()

    def get(self, timeout: Optional[float] = None) -> Optional[Frame]:
        """Take the next frame; None when none came in time, or there will be none (`over`)."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._frames) or self._closed, timeout)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._bytes -= len(frame.packed)
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Let nobody wait any more; what is inside is dropped."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._bytes = 0
            self._changed.notify_all()

    def over(self) -> bool:
        """Return whether it was closed."""
        return self._closed

    def full(self) -> bool:
        """Return whether who puts has to wait."""
        return self._bytes > self._most


def started(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that does not keep the process alive."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
