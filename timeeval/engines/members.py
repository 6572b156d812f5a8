"""The engine's book: which hosts are part of the run, what waits for them and what is on their slots."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from timeeval.run.standing import digest_of

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel
    from timeeval.engines.hosts import GuardedHost
    from timeeval.run.model import Attempt


@dataclass(slots=True)
class Slot:
    """One Dask worker that runs one attempt at a time, one parcel after the other.

    Attributes
    ----------
    name : str
        Name of the worker.
    address : str or None
        Where Dask reaches it; None while it is being made anew.
    pid : int
        Its process on the node.
    open : dict of str to Attempt
        What was sent to it and did not come back yet, by id.
    sent_to, sent_in : int, str
        The process that it was sent to, and the guard's child which that belongs to.
    key : str
        What Dask calls the parcel that was sent last.
    """

    name: str
    address: str | None = None
    pid: int = 0
    open: dict[str, Attempt] = field(default_factory=dict)
    sent_to: int = 0
    sent_in: str = ""
    key: str = ""


@dataclass(slots=True)
class Member:
    """A host of the run with its slots, and the attempts that wait for one of them.

    Attributes
    ----------
    child : str
        The guard's child whose workers the slots have now; earlier ones only end what they run.
    """

    guarded: GuardedHost
    slots: dict[str, Slot]
    standing: str = ""
    waiting: deque[Parcel] = field(default_factory=deque)
    child: str = ""

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

    def move(self, child: str) -> str:
        """From now on, have workers of another child; returns the one before."""
        for slot in self.slots.values():
            slot.address = None
        before, self.child = self.child, child
        return before

    def slot_of(self, attempt_id: str) -> Slot | None:
        """Return the slot that an attempt was sent to."""
        return next((slot for slot in self.slots.values() if attempt_id in slot.open), None)

    def busy_in(self, child: str) -> list[Slot]:
        """Return the slots that wait for what was sent to a child's workers."""
        return [slot for slot in self.slots.values() if slot.open and slot.sent_in == child]

    def withdraw(self, attempt_id: str) -> bool:
        """Take an attempt out of those that wait; returns whether it was among them."""
        for index, parcel in enumerate(self.waiting):
            rest = [pair for pair in zip(parcel.attempts, parcel.jobs, strict=True) if pair[0].id != attempt_id]
            if len(rest) == len(parcel.attempts):
                continue
            del self.waiting[index]
            if rest:
                attempts, jobs = zip(*rest, strict=True)
                self.waiting.insert(index, replace(parcel, attempts=attempts, jobs=jobs))
            return True
        return False

    def next_start(self) -> tuple[Slot, Parcel] | None:
        """Give the next waiting parcel to a free slot."""
        if not self.waiting:
            return None
        slot = next((slot for slot in self.slots.values() if slot.address is not None and not slot.open), None)
        if slot is None:
            return None
        parcel = self.waiting.popleft()
        slot.open = {attempt.id: attempt for attempt in parcel.attempts}
        slot.sent_to, slot.sent_in, slot.key = slot.pid, self.child, parcel.attempts[0].id
        return slot, parcel
