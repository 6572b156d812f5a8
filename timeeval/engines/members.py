"""The engine's book: which hosts are part of the run, what waits for them and what is on their slots."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from timeeval.run.standing import digest_of

if TYPE_CHECKING:
    from timeeval.engines.hosts import GuardedHost
    from timeeval.run.model import Attempt


@dataclass(slots=True)
class Slot:
    """One Dask worker that runs one attempt at a time.

    Attributes
    ----------
    name : str
        Name of the worker.
    address : str or None
        Where Dask reaches it; None while it is being made anew.
    pid : int
        Its process on the node.
    attempt : Attempt or None
        What was sent to it.
    sent_to : int
        The process that the attempt was sent to.
    """

    name: str
    address: str | None = None
    pid: int = 0
    attempt: Attempt | None = None
    sent_to: int = 0


@dataclass(slots=True)
class Member:
    """A host of the run with its slots, and the attempts that wait for one of them."""

    guarded: GuardedHost
    slots: dict[str, Slot]
    standing: str = ""
    waiting: deque[tuple[Attempt, bytes]] = field(default_factory=deque)

    @classmethod
    def of(cls, guarded: GuardedHost) -> Self:
        """Return a member whose slots have no workers yet."""
        standing = guarded.host.standing
        slots = {name: Slot(name) for name in guarded.host.slot_names()}
        return cls(guarded, slots, digest_of(standing) if standing else "")

    @property
    def name(self) -> str:
        """The host's name."""
        return self.guarded.name

    def slot_of(self, attempt_id: str) -> Slot | None:
        """Return the slot that an attempt was sent to."""
        return next((slot for slot in self.slots.values() if slot.attempt and slot.attempt.id == attempt_id), None)

    def withdraw(self, attempt_id: str) -> bool:
        """Take an attempt out of those that wait; returns whether it was among them."""
        entry = next((entry for entry in self.waiting if entry[0].id == attempt_id), None)
        if entry is not None:
            self.waiting.remove(entry)
        return entry is not None

    def next_start(self) -> tuple[Slot, Attempt, bytes] | None:
        """Give the next waiting attempt to a free slot."""
        if not self.waiting:
            return None
        slot = next((slot for slot in self.slots.values() if slot.address is not None and slot.attempt is None), None)
        if slot is None:
            return None
        attempt, job = self.waiting.popleft()
        slot.attempt, slot.sent_to = attempt, slot.pid
        return slot, attempt, job
