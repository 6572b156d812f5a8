"""One node's part in one round: what comes in goes on to the next node as it came, and is kept here where it is lacked.

Three threads and two bounded queues: the one that reads, the one that writes here, the one that passes on. None waits
for another longer than its queue is full, and a place that fails here goes on passing on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

from provisioning.node import stream
from provisioning.node.arrival import Folder, Sorter
from provisioning.node.quick import loads
from provisioning.node.stream import BEAT, BLOCK, BROKEN, END, ORDER, Frame, NoDoorError, Waiting, started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from provisioning.node.doors import Way

    Tell = Callable[[Dict[str, Any]], None]

STALL_SECONDS = 12
BEAT_SECONDS = 1
CREDIT = 1 << 20
UNBOUNDED = 1 << 50
"""For what the driver sends: it counts itself what has not been acknowledged."""


class Hop:
    """A round on one node.

    Parameters
    ----------
    folders : dict of int to Folder
        By the numbers that orders call them.
    way : Way or None
        The next node.
    by_driver : bool
        Whether the driver itself feeds this node.
    tell : callable
        Tells the driver: ``settled``, ``failed``, ``bad`` or ``lost`` once, ``child`` when the next node was lost,
        ``credit`` when bytes were dealt with.
    """

    def __init__(self, folders: Dict[int, Folder], way: Optional[Way], by_driver: bool, tell: Tell) -> None:
        self._folders, self._way, self._tell = folders, way, tell
        most = UNBOUNDED if by_driver else stream.MOST_WAITING
        self._here, self._onward = Waiting(most), Waiting(most)
        self._by_driver = by_driver
        self._sorter = Sorter(folders)
        self._got = self._kept = self._passed = self._credited = 0
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._ended = False
        self._why = ""
        threads = [started(self._keep, "keep")]
        if way is not None:
            threads += [started(lambda: self._pass_on(way), "pass-on"), started(lambda: self._listen_back(way), "back")]
        self._threads = threads

    def feed(self, frame: Frame) -> None:
        """Take a frame; waits while the queues are full."""
        if frame.kind == BEAT:
            return
        self._got += len(frame.packed)
        if self._way is not None:
            self._onward.put(frame)
        self._here.put(frame)

    def read_from(self, source: int) -> None:
        """Read frames from another node up to the end, or until it says nothing any more."""
        try:
            while True:
                frame = stream.read(source, STALL_SECONDS)
                if frame is None:
                    self.lose("the node before it closed the line")
                    return
                self.feed(frame)
                if frame.kind == END:
                    return
        except (OSError, ValueError) as error:
            self.lose("from the node before it: %s" % error)

    def lose(self, why: str) -> None:
        """End without having got everything; what has come so far is kept and passed on."""
        self._why = why
        self.feed(Frame(BROKEN))

    def cut(self) -> None:
        """Let go of the next node."""
        if self._way is not None:
            self._onward.close()
            self._way.cut()

    def progress(self) -> Dict[str, Any]:
        """Say how far it is."""
        behind = self._got - self._passed > CREDIT if self._by_driver else self._onward.full()
        waits = self._way is not None and not self._onward.over() and behind
        return {"got": self._got, "done": self._sorter.size, "passed": self._passed, "waits": waits}

    def watch(self) -> None:
        """Give a next node up that says nothing any more; called every second."""
        if self._way is not None and not self._onward.over() and time.monotonic() - self._heard > STALL_SECONDS:
            self._child_lost("it said nothing for %d s" % STALL_SECONDS)

    def close(self) -> None:
        """End whatever goes on."""
        self._end()
        self._here.close()
        self.cut()
        for thread in self._threads:
            thread.join(1)
        self._sorter.close()

    def _end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
            return first

    def _keep(self) -> None:
        try:
            while not self._here.over():
                frame = self._here.get()
                if frame is None:
                    break
                if frame.kind == ORDER:
                    self._sorter.order(loads(frame.unpack()))
                elif frame.kind == BLOCK:
                    self._sorter.take(frame.unpack())
                elif frame.kind == END:
                    self._finish()
                    return
                elif frame.kind == BROKEN:
                    if self._end():
                        self._tell({"lost": self._why})
                    return
                self._kept += len(frame.packed)
                self._credit()
        except Exception as error:  # noqa: BLE001 - the next node must get its bytes whatever is wrong here
            self._here.close()
            self._kept = UNBOUNDED
            self._credit()
            if self._end():
                self._tell({"failed": _told(error), "remedy": getattr(error, "remedy", None)})
        finally:
            self._sorter.close()

    def _finish(self) -> None:
        self._sorter.finish()
        bad = {str(number): folder.bad for number, folder in self._folders.items() if folder.bad}
        if bad:
            answer: Dict[str, Any] = {"bad": bad}
            for folder in self._folders.values():
                folder.bad = {}
        else:
            for folder in self._folders.values():
                folder.settle()
            answer = {"settled": {"files": self._sorter.files, "size": self._sorter.size}}
        if self._end():
            self._tell(answer)

    def _pass_on(self, way: Way) -> None:
        try:
            while not self._onward.over():
                frame = self._onward.get(BEAT_SECONDS)
                if frame is None:
                    if self._onward.over():
                        return
                    frame = Frame(BEAT)
                if frame.kind == BROKEN:
                    self._onward.close()
                    way.end()
                    return
                stream.write(way.sink, frame.head() + frame.packed)
                self._passed += len(frame.packed)
                self._credit()
                if frame.kind == END:
                    self._onward.close()
                    way.end()
        except OSError as error:
            self._child_lost(_told(error))

    def _listen_back(self, way: Way) -> None:
        with contextlib.suppress(OSError):
            while os.read(way.source, 1 << 12):
                self._heard = time.monotonic()
        self._child_lost("it closed the line")

    def _child_lost(self, why: str) -> None:
        if not self._onward.over() and self._way is not None:
            self._onward.close()
            self._way.cut()
            self._tell({"child": why})
        self._passed = UNBOUNDED
        self._credit()

    def _credit(self) -> None:
        if not self._by_driver:
            return
        done = self._kept if self._way is None else min(self._kept, self._passed)
        with self._lock:
            if done < self._credited + CREDIT:
                return
            self._credited = done
        self._tell({"credit": done})


def _told(error: BaseException) -> str:
    plain = isinstance(error, (OSError, NoDoorError)) or hasattr(error, "remedy")
    return str(error) if plain else "%s: %s" % (type(error).__name__, error)
