"""Take part in a transfer: say what is here already, receive, pass on while receiving, and give files their names."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # as in the bootstrap
import os
import threading

from provisioning.node import codec, stream, tree
from provisioning.node.arrival import Folder
from provisioning.node.hop import BEAT_SECONDS, Hop
from provisioning.node.landing import Rights
from provisioning.node.stream import NoDoorError, started

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Dict, Optional, Tuple

    from provisioning.node.bootstrap import Channel
    from provisioning.node.doors import Door, Way

PATIENCE_SECONDS = 60
"""Of the driver, who says every few seconds that it is there."""

DOOR_SECONDS = 60


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Receive ``{"folders": {number: {"target", "last", "mode", "group"}}}``; obeys the driver, see `Agent.obey`."""
    folders = {
        int(number): Folder(each["target"], each["last"], Rights(int(each["mode"]), each["group"]))
        for number, each in args["folders"].items()
    }
    agent = Agent(folders, channel)
    try:
        agent.look()
        while True:
            said = channel.either(PATIENCE_SECONDS)
            if said is None:
                return {}
            if isinstance(said, bytes):
                agent.feed(said)
            elif said["do"] == "end":
                return {}
            else:
                agent.obey(said)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the line must not end this midway
        agent.close()


class Agent:
    """What this node knows between two messages of the driver."""

    def __init__(self, folders: Dict[int, Folder], channel: Channel) -> None:
        self._folders = folders
        self._channel = channel
        self._door: Optional[Door] = None
        self._way: Optional[Way] = None
        self._hop: Optional[Hop] = None
        self._visitor: Optional[Tuple[socket.socket, int, int]] = None
        self._came = threading.Event()
        self._over = threading.Event()

    def look(self) -> None:
        """Say what an earlier transfer has left here."""
        done = [0]

        def progress(size: int) -> None:
            done[0] += size
            self._channel.event({"title": "compare", "done": done[0], "total": done[0], "unit": "B"})

        for folder in self._folders.values():
            folder.look(progress)
        started(self._tick, "tick")
        ready = {"folders": self._state(), "codecs": codec.offered()}
        self._channel.event({"ready": ready})

    def obey(self, said: Dict[str, Any]) -> None:
        """Do one of: alive, compare, listen, connect, round, cut, stop."""
        if said["do"] == "compare":
            self._compare(said)
        elif said["do"] == "listen":
            self._listen(said["public"])
        elif said["do"] == "connect":
            started(lambda: self._connect(said["to"]), "connect")
        elif said["do"] == "round":
            self._begin(said["by"] == "driver")
        elif said["do"] == "cut" and self._hop is not None:
            self._hop.cut()
        elif said["do"] == "stop":
            self._reset()
            self._channel.event({"stopped": self._state()})
        elif said["do"] not in {"alive", "cut"}:
            raise ValueError("nobody here can %s" % said["do"])

    def _state(self) -> Dict[str, Any]:
        return {str(number): folder.state() for number, folder in self._folders.items()}

    def feed(self, data: bytes) -> None:
        """Take a frame that the driver sends itself."""
        if self._hop is not None:
            self._hop.feed(stream.parse(data))

    def _compare(self, said: Dict[str, Any]) -> None:
        files = [(tree.safe_path(path), int(size), str(digest)) for path, size, digest in said["files"]]
        total, done = sum(size for _, size, _ in files), [0]

        def progress(size: int) -> None:
            done[0] += size
            self._channel.event({"title": "compare", "done": min(done[0], total), "total": total, "unit": "B"})

        self._channel.event({"present": self._folders[said["folder"]].compare(files, progress)})

    def _listen(self, public: str) -> None:
        from provisioning.node.doors import Door

        try:
            self._door = Door(public)
        except (NoDoorError, OSError) as error:
            self._channel.event({"door": str(error)})
            return
        self._came.clear()
        started(self._wait, "door")
        self._channel.event({"door": None})

    def _wait(self) -> None:
        door = self._door
        if door is not None:
            try:
                self._visitor = door.wait(DOOR_SECONDS)
            except (NoDoorError, OSError):
                return  # the other node says why it did not come
            finally:
                self._came.set()

    def _connect(self, to: Dict[str, Any]) -> None:
        from provisioning.node.doors import opened

        try:
            self._way = opened(to)
        except (NoDoorError, OSError) as error:
            self._channel.event({"way": str(error)})
            return
        self._channel.event({"way": None})

    def _begin(self, by_driver: bool) -> None:
        hop = self._hop = Hop(self._folders, self._way, by_driver, self._channel.event)
        if not by_driver:
            started(lambda: self._read(hop), "read")

    def _read(self, hop: Hop) -> None:
        self._came.wait(DOOR_SECONDS)
        visitor = self._visitor
        if visitor is None:
            hop.lose("the node before it did not come")
            return
        try:
            hop.read_from(visitor[1])
        finally:
            os.close(visitor[1])

    def _tick(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            hop, visitor = self._hop, self._visitor
            if visitor is not None:
                try:
                    os.write(visitor[2], b".")
                except OSError:
                    self._visitor = None  # who reads from it sees its end
            if hop is not None:
                hop.watch()
            self._channel.event({"tick": None if hop is None else hop.progress()})

    def _reset(self) -> None:
        if self._hop is not None:
            self._hop.close()
        if self._way is not None:
            self._way.cut()
        if self._visitor is not None:
            self._visitor[0].close()
        if self._door is not None:
            self._door.close()
        self._hop = self._way = self._visitor = self._door = None

    def close(self) -> None:
        """Leave nothing behind but what has arrived."""
        self._over.set()
        self._reset()
