"""Which node holds up a chain: told from what each of them has passed on, second by second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from provisioning.shapes import is_size

WINDOW = 5
"""Seconds that a node must have waited for the next one, without a pause."""

FACTOR = 3.0
"""How many times faster bytes must have come in than they go out."""


@dataclass(slots=True)
class _Seen:
    at: float
    got: int
    passed: int
    waits: bool


@dataclass(slots=True)
class Pace:
    """What is known of the speeds of a chain.

    A node that waits for the next one, while that one waits for nobody, stands before the slowest link. Whether that
    link is slow or all are alike tells what came in before the queues were full. At most a third of a chain is called
    slow: if more were, they were not the exception.

    Attributes
    ----------
    apart : set of str
        Nodes that are sent to apart from the chain from the next round on: slow ones, and those that were lost.
    """

    apart: set[str] = field(default_factory=set)
    _after: Mapping[str, str] = field(default_factory=dict)
    _seen: dict[str, list[_Seen]] = field(default_factory=dict)
    _slow: int = 0

    def begin(self, after: Mapping[str, str]) -> None:
        """Begin a round in which each node of the keys passes on to its value."""
        self._after, self._seen = after, {name: [] for name in after}

    def note(self, name: str, tick: Mapping[str, Any], now: float) -> None:
        """Take what a node says every second.

        Raises
        ------
        ValueError
            When it says what is no number of bytes.
        """
        if name in self._seen:
            got, passed = int(tick["got"]), int(tick["passed"])
            if not (is_size(got) and is_size(passed)):
                raise ValueError("a node said what is no number of bytes")
            self._seen[name].append(_Seen(now, got, passed, bool(tick["waits"])))

    def slowest(self) -> str | None:
        """Return the node that should let go of the one after it; None while none is slow."""
        if self._slow >= max(1, (len(self._after) + 1) // 3):
            return None
        for name, child in self._after.items():
            if child in self.apart or not self._waits(name) or self._waits(child):
                continue
            rows = self._seen[name]
            peak = max(
                (then.got - before.got) / (then.at - before.at)
                for before, then in pairwise(rows)
                if then.at > before.at
            )
            first, last = rows[-WINDOW - 1], rows[-1]
            if peak > FACTOR * (last.passed - first.passed) / (last.at - first.at):
                self._slow += 1
                self.apart.add(child)
                return name
        return None

    def _waits(self, name: str) -> bool:
        rows = self._seen.get(name, [])
        return len(rows) > WINDOW and all(row.waits for row in rows[-WINDOW:])
