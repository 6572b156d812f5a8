"""One node's part in a transfer, as the driver sees it: what it has, what it says, and what it is sent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.endings import senseless
from provisioning.errors import NodeError, ProvisionError
from provisioning.node.stream import MOST_WAITING

if TYPE_CHECKING:
    from provisioning.launch import Conversation, Session
    from provisioning.node.stream import Frame
    from provisioning.resources.base import OnEvent, Parcel
    from provisioning.transfer.feed import Throttle

PROGRAM = "provisioning.node.relay"
BLOCK = 4096
PATIENCE_SECONDS = 5
"""For an agent that was asked to end."""


@dataclass(slots=True)
class Lack:
    """What a node has of one parcel that it lacks: paths that came whole, and bytes of others."""

    paths: tuple[str, ...]
    staged: frozenset[str] = frozenset()
    partial: Mapping[str, int] | None = None
    links: frozenset[str] = frozenset()

    def begin(self, path: str, size: int) -> int:
        """Return from which byte on this node needs a file."""
        if path in self.staged or path in self.links:
            return size
        part = (self.partial or {}).get(path, 0)
        return part if part < size else 0


OURS = frozenset({"gone", "source"})
"""What `Line` and `Relay` tell themselves; of a node, it is no word."""


class Line:
    """The conversation with one node's agent.

    Parameters
    ----------
    session : Session
    parcels : sequence of Parcel
        All of the transfer; the node lacks parts of some.
    on_event : callable
        Progress of this node.
    """

    def __init__(self, session: Session, parcels: Sequence[Parcel], on_event: OnEvent) -> None:
        self.name = session.node.name
        self.session = session
        self.parcels = [(number, parcel) for number, parcel in enumerate(parcels) if parcel.missing.get(self.name)]
        self.lacks: dict[int, Lack] = {}
        self.codecs: list[int] = []
        self.heard = time.monotonic()
        self.tries = 0
        self._on_event = on_event
        self._conversation: Conversation | None = None
        self._sent = self._acknowledged = 0
        self._credit = threading.Condition()
        self._reader: threading.Thread | None = None
        self._closed = self._over = False

    @property
    def missing(self) -> int:
        """Bytes that have to come."""
        return sum(
            entry.size - self.lacks[number].begin(entry.path, entry.size)
            for number, parcel in self.parcels
            for entry in parcel.manifest.select(self.lacks[number].paths).entries
        )

    def open(self) -> None:
        """Start the agent, learn what is there, and see whether the rest fits.

        Raises
        ------
        ProvisionError
        """
        folders = {
            number: {
                "target": str(parcel.target),
                "last": list(parcel.last),
                "mode": parcel.mode,
                "group": parcel.group,
            }
            for number, parcel in self.parcels
        }
        self._conversation = self.session.open(PROGRAM, {"folders": folders})
        ready = self._answer("ready")
        self.codecs = [int(each) for each in ready["codecs"]]
        self.refresh(ready["folders"])
        for number, parcel in self.parcels:
            if ready["folders"][str(number)]["foreign"]:
                wanted, lack = parcel.manifest.select(parcel.missing[self.name]), self.lacks[number]
                self.send({"do": "compare", "folder": number, "files": wanted.to_json()})
                lack.staged |= frozenset(self._answer("present")) & wanted.by_path.keys()
        self._see_room([ready["folders"][str(number)]["room"] for number, _ in self.parcels])

    def refresh(self, folders: Mapping[str, Any]) -> None:
        """Take what the node says of files that came without having got their names yet."""
        for number, parcel in self.parcels:
            seen = folders[str(number)]
            digests = {entry.path: entry.sha256 for entry in parcel.manifest.select(parcel.missing[self.name]).entries}
            staged = frozenset(path for path, _, digest in seen["staged"] if digests.get(path) == digest)
            partial = {str(path): int(size) for path, size in seen["partial"].items()}
            links = frozenset(entry.path for entry in parcel.manifest.entries if entry.link is not None)
            self.lacks[number] = Lack(parcel.missing[self.name], staged, partial, links)

    def _see_room(self, rooms: Sequence[Mapping[str, Any]]) -> None:
        needs: dict[int, tuple[int, int]] = {}
        for (number, parcel), room in zip(self.parcels, rooms, strict=True):
            lack = self.lacks[number]
            sizes = [
                entry.size - lack.begin(entry.path, entry.size)
                for entry in parcel.manifest.select(lack.paths).entries
                if entry.path not in lack.staged
            ]
            device = int(room["device"])
            size, files = needs.get(device, (0, 0))
            size, files = size + sum(-(-each // BLOCK) * BLOCK for each in sizes), files + len(sizes)
            needs[device] = (size, files)
            if sizes and size + size // 100 > room["free"]:
                raise NodeError(
                    f"{size} bytes have to fit on the file system of {parcel.target}, {room['free']} are free",
                    host=self.name,
                    remedy="make room there or name a path on another file system; nothing was sent",
                )
            if sizes and 0 <= room["inodes"] < files + 16:
                raise NodeError(
                    f"{files} files have to fit below {parcel.target}, {room['inodes']} inodes are free",
                    host=self.name,
                    remedy="remove files there or name a path on another file system; nothing was sent",
                )

    def _answer(self, key: str) -> Any:  # noqa: ANN401 - whatever the agent answers
        while True:
            event = self._talk.receive()
            if event is None:
                raise NodeError("the agent of the transfer ended early", host=self.name, remedy="run it again")
            if key in event:
                return event[key]
            if "title" in event:
                self._on_event(event)

    @property
    def _talk(self) -> Conversation:
        if self._conversation is None:
            raise NodeError("its line is closed", host=self.name, remedy="run the command again")
        return self._conversation

    def listen(self, tell: Callable[[str, dict[str, Any]], None]) -> None:
        """Tell everything that the node says from now on, from a thread of its own."""

        def run() -> None:
            try:
                while (event := self._talk.receive()) is not None:
                    self.heard = time.monotonic()
                    if not event.keys().isdisjoint(OURS):
                        raise senseless(self.name, event)
                    if "credit" not in event:
                        tell(self.name, event)
                    elif isinstance(event["credit"], int):
                        self._acknowledge(event["credit"])
                    else:
                        raise senseless(self.name, event)
            except ProvisionError as error:
                tell(self.name, {"gone": error})
            except (OSError, ValueError):
                pass  # the line was closed from this side
            self._over = True
            self._acknowledge(None)

        self._reader = threading.Thread(target=run, name=f"line-{self.name}", daemon=True)
        self._reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send the agent a message; one that is gone tells so elsewhere."""
        with contextlib.suppress(ProvisionError):
            self._talk.send(message)

    def feed(self, frames: Iterable[Frame], throttle: Throttle) -> None:
        """Send frames, never more than a few MB ahead of what the node has dealt with."""
        with self._credit:
            self._sent = self._acknowledged = 0
            self._closed = self._over
        for frame in frames:
            with self._credit:
                self._credit.wait_for(lambda: self._closed or self._sent - self._acknowledged < MOST_WAITING)
                self._sent += len(frame.packed)
            if self._closed:
                return
            throttle.take(len(frame.packed))
            try:
                self._talk.send_piece(frame.head() + frame.packed)
            except ProvisionError:
                return  # its reader meets the lost line as well, and says so

    def stop_feeding(self) -> None:
        """Let `feed` return, in whatever it is."""
        self._acknowledge(None)

    def _acknowledge(self, count: int | None) -> None:
        with self._credit:
            if count is None:
                self._closed = True
            else:
                self._acknowledged = count
            self._credit.notify_all()

    def close(self) -> None:
        """Let the agent end by itself, and end it where it does not."""
        if self._conversation is not None:
            self.send({"do": "end"})
            if self._reader is not None:
                self._reader.join(PATIENCE_SECONDS)
        self.drop()

    def drop(self) -> None:
        """Let go of an agent that does not answer any more."""
        self._over = True
        self._acknowledge(None)
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None
