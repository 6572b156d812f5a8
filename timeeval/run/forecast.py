"""How long executions will take: what is known of earlier runs, corrected by what this run sees.

Per algorithm, the logarithm of the seconds is a line in the logarithm of the estimate (seconds of earlier runs, or the
dataset's length where there are none); per host, a constant is added to it. Both are learned while the run goes on.
Logarithms, so that a few outliers do no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.run.model import Execution

_LEAST = 1e-4  # seconds; a clock may show less
_TRUST_EARLIER = 4.0  # so many observations is an estimate from earlier runs worth
_TRUST_EQUAL = 8.0  # so many observations is it worth that hosts are equally fast
_TRUST_LINEAR = 2.0  # variance of log length at which as much is believed in the slope seen as in the slope 1
_STIFF = 1e9
_LEAST_SLOPE = 0.1  # a longer series is never expected to take less
_LASTS = 3.0  # what has lasted longer than expected is expected to last so many times longer still
_MEMORY = 200.0  # observations; older ones fade
SURE = 3
"""So many executions of an algorithm must have ended before its times count as known."""


@dataclass(slots=True)
class _Line:
    """A running regression of y on x whose slope is drawn towards 1."""

    weight: float = 0.0
    stiffness: float = _TRUST_LINEAR
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    seen: int = 0

    def add(self, x: float, y: float) -> None:
        self.seen += 1
        if self.weight >= _MEMORY:
            self.xx, self.xy = self.xx * (1 - 1 / _MEMORY), self.xy * (1 - 1 / _MEMORY)
        self.weight = min(self.weight + 1, _MEMORY)
        dx = x - self.x
        self.x += dx / self.weight
        self.y += (y - self.y) / self.weight
        self.xx += dx * (x - self.x)
        self.xy += dx * (y - self.y)

    def at(self, x: float) -> float:
        slope = max((self.xy + self.stiffness) / (self.xx + self.stiffness), _LEAST_SLOPE)
        return self.y + slope * (x - self.x)


class Forecast:
    """Learns from what ends and tells what to expect."""

    def __init__(self) -> None:
        self._algorithms: dict[str, _Line] = {}
        self._hosts: dict[str, _Line] = {}
        self._guesses = _Line()  # all algorithms that no earlier run knew
        self._floors: dict[str, float] = {}  # logarithm of the least that such an algorithm takes per unit of estimate

    def seconds(self, execution: Execution) -> float:
        """Return the expected seconds on a host of usual speed."""
        line = self._algorithms.get(execution.cell.algorithm)
        if line is None or line.weight == 0:
            if execution.measured:
                return execution.expected_seconds
            estimate = _log(execution.expected_seconds)
            floor = self._floors.get(execution.cell.algorithm, -math.inf)
            return math.exp(max(self._guesses.at(estimate), estimate + floor))
        return math.exp(line.at(_log(execution.expected_seconds)))

    def seen(self, algorithm: str) -> int:
        """Return how many executions of an algorithm this run has seen to their end."""
        line = self._algorithms.get(algorithm)
        return 0 if line is None else line.seen

    def slowness(self, host: str) -> float:
        """Return a host's times relative to the usual ones; 1 while nothing is known."""
        line = self._hosts.get(host)
        return 1.0 if line is None else math.exp(line.y)

    def told(self, host: str, speed: float) -> None:
        """Take in how fast a host was measured to be, relative to the usual one; what this run sees corrects it."""
        self._hosts.setdefault(host, _Line(weight=_TRUST_EQUAL, y=-math.log(speed)))

    def outlasted(self, execution: Execution, seconds: float) -> bool:
        """Take in that one of an algorithm that nobody knows runs for so long already; return whether that is news."""
        if seconds <= self.seconds(execution) / _LASTS:
            return False
        self._floors[execution.cell.algorithm] = _log(_LASTS * seconds) - _log(execution.expected_seconds)
        return True

    def learn(self, execution: Execution, host: str, seconds: float) -> None:
        """Take in how long an execution took on a host."""
        algorithm = execution.cell.algorithm
        estimate, took = _log(execution.expected_seconds), _log(seconds)
        line = self._algorithms.get(algorithm)
        if line is None:
            line = _Line(_TRUST_EARLIER, _STIFF, estimate, estimate) if execution.measured else _Line()
            self._algorithms[algorithm] = line
        here = self._hosts.get(host)
        if here is None:
            here = self._hosts[host] = _Line(weight=_TRUST_EQUAL)
        if line.seen >= SURE:
            here.add(0.0, took - line.at(estimate))
        line.add(estimate, took - here.y)
        if not execution.measured:
            self._guesses.add(estimate, took - here.y)


def _log(seconds: float) -> float:
    return math.log(max(seconds, _LEAST))
