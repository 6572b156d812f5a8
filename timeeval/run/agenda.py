"""What is due, longest expected first, in an order that follows the forecast while it learns.

Within an algorithm the order never changes, since what is learned multiplies all its estimates alike. So there is one
heap per algorithm and one of algorithms by the expected seconds of their longest: taking one costs O(log n).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from timeeval.run.model import Execution

if TYPE_CHECKING:
    from timeeval.run.forecast import Forecast

PROBES = 2
"""So many executions of an algorithm that nobody knows start before all others: its times must be learned early."""
_SAME = 1.05

_Entry = tuple[float, int, Execution]


class Agenda:
    """Executions that wait for a slot.

    Parameters
    ----------
    executions : iterable of Execution
        In the order of the grid, which decides among equals.
    forecast : Forecast
        What is known of durations.
    """

    def __init__(self, executions: Iterable[Execution], forecast: Forecast) -> None:
        self._forecast = forecast
        self._queues: dict[str, list[_Entry]] = {}
        self._probed: dict[str, int] = {}
        self._pushed: dict[str, tuple[int, float]] = {}  # serial of an algorithm's valid entry, its seconds
        self._top: list[tuple[float, int, int, str]] = []
        self._serial = 0
        self._length = 0
        for execution in executions:
            self._serial += 1
            self._length += 1
            queue = self._queues.setdefault(execution.cell.algorithm, [])
            queue.append((-execution.expected_seconds, self._serial, execution))
        for algorithm, queue in self._queues.items():
            heapq.heapify(queue)
            self._offer(algorithm)

    def __len__(self) -> int:
        return self._length

    def add(self, execution: Execution) -> None:
        """Let an execution wait (again), behind its equals."""
        self._serial += 1
        self._length += 1
        algorithm = execution.cell.algorithm
        entry = (-execution.expected_seconds, self._serial, execution)
        queue = self._queues.setdefault(algorithm, [])
        heapq.heappush(queue, entry)
        if queue[0] is entry:
            self._offer(algorithm)

    def peek(self) -> Execution | None:
        """Return what is next without taking it."""
        while self._top:
            _, _, serial, algorithm = self._top[0]
            if self._pushed[algorithm][0] == serial and self._queues[algorithm]:
                return self._queues[algorithm][0][2]
            heapq.heappop(self._top)
        return None

    def take(self) -> Execution | None:
        """Take what is next."""
        execution = self.peek()
        if execution is None:
            return None
        algorithm = execution.cell.algorithm
        heapq.heappop(self._queues[algorithm])
        self._length -= 1
        if self._probed.get(algorithm, 0) < PROBES:
            self._probed[algorithm] = self._probed.get(algorithm, 0) + 1
        if self._queues[algorithm]:
            self._offer(algorithm, replace=True)
        return execution

    def learned(self, algorithm: str) -> None:
        """Take note that the forecast of an algorithm may have changed."""
        queue = self._queues.get(algorithm)
        if not queue:
            return
        before, now = self._pushed[algorithm][1], self._forecast.seconds(queue[0][2])
        if not before / _SAME < now < before * _SAME:
            self._offer(algorithm)

    def _offer(self, algorithm: str, *, replace: bool = False) -> None:
        """Put an algorithm where its longest execution belongs; an entry it had before is void."""
        self._serial += 1
        _, position, first = self._queues[algorithm][0]
        seconds = self._forecast.seconds(first)
        unknown = not first.measured and not self._forecast.seen(algorithm)
        probing = unknown and self._probed.get(algorithm, 0) < PROBES
        self._pushed[algorithm] = self._serial, seconds
        entry = (-math.inf if probing else -seconds, position, self._serial, algorithm)
        if replace:
            heapq.heapreplace(self._top, entry)
        else:
            heapq.heappush(self._top, entry)
