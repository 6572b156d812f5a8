"""What leaves the driver: files as frames, read once and packed by some threads, no faster than a person allows."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import UsageError
from provisioning.node import stream
from provisioning.node.stream import BLOCK, BLOCK_SIZE, END, Frame

ROWS = 4000
"""Files that one order names: who gets it need not wait for the rest of the list."""

THREADS = 2
AHEAD = 16


@dataclass(frozen=True, slots=True)
class Item:
    """A file that travels: which parcel it belongs to, where it is, and from which byte on it is sent."""

    parcel: int
    source: Path
    path: str
    size: int
    sha256: str
    begin: int = 0


def frames(items: Sequence[Item], codec: int) -> Iterator[Frame]:
    """Yield the frames that carry these files.

    A file that has become shorter is filled up with zeros and one that has become longer is cut: whoever gets it sees
    by its digest that it is not what was announced.

    Parameters
    ----------
    items : sequence of Item
    codec : int
        See `provisioning.node.codec`.

    Raises
    ------
    UsageError
        When a file cannot be read.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        ready: collections.deque[Future[Frame]] = collections.deque()
        for begin in range(0, len(items), ROWS):
            part = items[begin : begin + ROWS]
            rows = [[item.parcel, item.path, item.size, item.sha256, item.begin] for item in part]
            ready.append(pool.submit(stream.order, rows, codec))
            for block in _blocks(part):
                ready.append(pool.submit(stream.made, BLOCK, block, codec))
                while len(ready) > AHEAD:
                    yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
    yield Frame(END)


def whole(item: Item) -> bytes:
    """Return the bytes of a small file, with the length that was announced, as `frames` would send them."""
    return b"".join(_pieces(item))


def _blocks(items: Sequence[Item]) -> Iterator[bytes]:
    """Yield the bytes of files one after another, in pieces that do not care where a file ends."""
    waiting: list[bytes] = []
    length = 0
    for item in items:
        for piece in _pieces(item):
            waiting.append(piece)
            length += len(piece)
            if length >= BLOCK_SIZE:
                yield b"".join(waiting)
                waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)


def _pieces(item: Item) -> Iterator[bytes]:
    left = item.size - item.begin
    if not left:
        return
    try:
        with (item.source / item.path).open("rb", buffering=0) as file:
            file.seek(item.begin)
            while left:
                piece = file.read(min(BLOCK_SIZE, left)) or bytes(min(BLOCK_SIZE, left))
                left -= len(piece)
                yield piece
    except OSError as error:
        raise UsageError(
            f"{item.source / item.path} cannot be read: {error.strerror}", remedy="mend the file, then run it again"
        ) from error


class Throttle:
    """Keeps all senders together below a rate.

    Parameters
    ----------
    rate : int or None
        Bytes per second; None lets everything pass.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = 0.0

    def take(self, size: int) -> None:
        """Wait until so many bytes may leave."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + size / self._rate
            wait = self._free - now
        time.sleep(wait)
