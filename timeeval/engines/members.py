"""The engine's book: which hosts are part of the run, what waits for them and what is on their slots."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from timeeval.engines.base import Parcel
from timeeval.run.standing import digest_of

if TYPE_CHECKING:
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
    sent_to : int
        The process that it was sent to.
    """

    name: str
    address: str | None = None
    pid: int = 0
    open: dict[str, Attempt] = field(default_factory=dict)
    sent_to: int = 0


@dataclass(slots=True)
class Member:
    """A host of the run with its slots, and the attempts that wait for one of them."""

    guarded: GuardedHost
    slots: dict[str, Slot]
    standing: str = ""
    waiting: deque[Parcel] = field(default_factory=deque)

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
        return next((slot for slot in self.slots.values() if attempt_id in slot.open), None)

    def withdraw(self, attempt_id: str) -> bool:
        """Take an attempt out of those that wait; returns whether it was among them."""
        for index, parcel in enumerate(self.waiting):
            rest = [pair for pair in zip(parcel.attempts, parcel.jobs, strict=True) if pair[0].id != attempt_id]
            if len(rest) == len(parcel.attempts):
                continue
            del self.waiting[index]
            if rest:
                self.waiting.insert(index, Parcel(tuple(pair[0] for pair in rest), tuple(pair[1] for pair in rest)))
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
        slot.open, slot.sent_to = {attempt.id: attempt for attempt in parcel.attempts}, slot.pid
        return slot, parcel
