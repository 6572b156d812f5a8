"""A fixed piece of work of the kinds that evaluations are made of, timed: how fast a machine computes.

Run by the environment's own Python, once alone and once for every slot at the same time. Each part repeats the very
same unit for a while and tells the best rate of some stretches, so that a short disturbance does not count.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any, Callable, Dict, List, Tuple

VERSION = 1
"""A change of what is computed is a new version: numbers of two versions cannot be compared."""

STRETCHES = 5


def parts(numpy: Any) -> List[Tuple[str, Callable[[], object]]]:  # noqa: ANN401 - imported where it runs
    """Return name and unit of work of each part."""
    chance = numpy.random.default_rng(7)
    wave, square = chance.random(1 << 16), chance.random((256, 256))
    unsorted, block = chance.random(200_000), chance.random(1 << 21)
    copy = numpy.empty_like(block)

    def loop() -> int:
        total, seen = 0, {}
        for number in range(20_000):
            seen[number & 255] = total
            total += number * number % 7
        return total

    return [
        ("fft", lambda: numpy.fft.rfft(wave)),
        ("blas", lambda: square @ square),
        ("sort", lambda: numpy.sort(unsorted)),
        ("python", loop),
        ("memory", lambda: numpy.copyto(copy, block)),
    ]


def rate(unit: Callable[[], object], seconds: float) -> float:
    """Return the units per second of the best of some stretches."""
    best = 0.0
    for _ in range(STRETCHES):
        count, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds / STRETCHES:
            unit()
            count += 1
        best = max(best, count / passed)
    return best


def main() -> None:
    """Get ready, say so, wait for a line, work, and print the rates as JSON; the seconds of a part are an argument."""
    numpy = importlib.import_module("numpy")
    work = parts(numpy)
    for _, unit in work:
        unit()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        return  # nobody waits for it any more
    rates: Dict[str, float] = {name: rate(unit, float(sys.argv[1])) for name, unit in work}
    sys.stdout.write(json.dumps({"numpy": numpy.__version__, "rates": rates}) + "\n")


if __name__ == "__main__":
    main()
