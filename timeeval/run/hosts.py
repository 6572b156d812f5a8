"""The hosts of a run as the state machine sees them: which are usable, which is the best for the next attempt."""

from __future__ import annotations

import heapq
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.run.forecast import Forecast


@dataclass(slots=True, eq=False)
class Host:
    """One host.

    Attributes
    ----------
    busy : int
        Slots that have something to do.
    failures : set of str
        What the machinery broke here since the last success.
    given_up_at : float
        When what runs on it is not hoped for any more, once it is lost.
    """

    name: str
    slots: int
    is_up: bool = True
    aside: bool = False
    busy: int = 0
    failures: set[str] = field(default_factory=set)
    given_up_at: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether attempts may be sent to it."""
        return self.is_up and not self.aside

    @property
    def free(self) -> int:
        """Number of slots without anything to do."""
        return max(0, self.slots - self.busy) if self.usable else 0


class Hosts:
    """All hosts of a run; the one with most of its slots free is the best, of equals the fastest.

    Hosts with a free slot stand in a heap; an entry that does not say any more how free its host is, is void.
    """

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._hosts: dict[str, Host] = {}
        self._heap: list[tuple[float, float, str, int]] = []
        self._usable: set[str] = set()
        self.slots = 0
        """Number of slots of all usable hosts."""

    def up(self, name: str, slots: int, speed: float = 1.0) -> None:
        """Take in a host that offers its slots, for the first time or again."""
        host = self._hosts.get(name)
        if host is None:
            self._forecast.told(name, speed)
            host = self._hosts[name] = Host(name, slots)
        self._leave(host)
        host.slots, host.is_up = slots, True
        if host.usable:
            self._usable.add(name)
            self.slots += slots
        self._offer(host)

    def lost(self, name: str, given_up_at: float) -> Host | None:
        """Take in that a host is gone; return it if it was known.

        Told twice, the earlier time counts: it may be known by now that nothing runs there any more.
        """
        host = self._hosts.get(name)
        if host is None:
            return None
        self._leave(host)
        host.given_up_at = given_up_at if host.is_up else min(given_up_at, host.given_up_at)
        host.is_up = False
        return host

    def set_aside(self, host: Host) -> bool:
        """Use a host no more; return whether that is news."""
        if host.aside:
            return False
        self._leave(host)
        host.aside = True
        return True

    def taken(self, host: Host) -> None:
        """Book that a slot of a host has something to do."""
        host.busy += 1
        self._offer(host)

    def freed(self, host: Host) -> None:
        """Book that a slot of a host has nothing more to do."""
        host.busy -= 1
        self._offer(host)

    def any_usable(self) -> bool:
        """Whether attempts may be sent anywhere, now or later."""
        return bool(self._usable)

    def any_free(self) -> bool:
        """Whether an attempt may be sent anywhere now."""
        while self._heap:
            _, _, name, free = self._heap[0]
            if self._hosts[name].free == free:
                return True
            heapq.heappop(self._heap)
        return False

    def best(self, avoid: AbstractSet[str]) -> Host | None:
        """Return where to send an attempt that had better not run on some hosts; None: it had better wait."""
        if not self._usable - avoid:
            avoid = frozenset()  # nothing else is left
        passed_over = []
        found = None
        while found is None and self.any_free():
            if self._heap[0][2] in avoid:
                passed_over.append(heapq.heappop(self._heap))
            else:
                found = self._hosts[self._heap[0][2]]
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found

    def _leave(self, host: Host) -> None:
        if host.name in self._usable:
            self._usable.discard(host.name)
            self.slots -= host.slots

    def _offer(self, host: Host) -> None:
        if host.free > 0:
            entry = (-host.free / host.slots, self._forecast.slowness(host.name), host.name, host.free)
            heapq.heappush(self._heap, entry)
