"""How near the state machine's order comes to the best there is: `python -m benchmarks.scheduling [--json] [--full]`.

A world of hosts is played against the real `Machine`, its clock included; nothing is computed. What is assumed:

* an execution takes rate of its algorithm x length of its dataset x noise, log-normal all three, divided by the speed
  of its host; speeds lie between 0.7 and 1.3 and nobody knows them;
* the time limit is the duration that 1 % exceed; they take exactly the limit;
* the machine knows each duration with a log-normal error of sigma 0.7; of a fifth of the algorithms, which no earlier
  run had, it knows the length of the dataset and how long the others take per point;
* 2 % of all attempts are lost after a part of their time and have to run again.

The bound is the larger of all work / all speed and of the longest single execution on the fastest host; no schedule
can be shorter. Where the longest execution decides it (a thousand nodes for ten thousand executions), losing that very
one half-way costs half the bound whatever the order, so such cases say nothing and are not played. List order (the
grid's, algorithm by algorithm) and random order get the same world and lose the same share of attempts.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._report import Row, show
from timeeval.run.machine import Machine
from timeeval.run.model import (
    Attempt,
    Cell,
    Command,
    Event,
    Execution,
    Finish,
    HostUp,
    Interrupted,
    Outcome,
    Report,
    Reported,
    Start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]

CASES = ((10, 10_000), (100, 10_000), (100, 100_000), (1000, 100_000))
FULL = (*CASES, (1000, 1_000_000))
GOAL = 1.15
ALGORITHMS = 80
DATASETS = 200
UNKNOWN = 0.2
ERROR = 0.7
LIMIT_HIT = 0.01
LOST = 0.02


@dataclass(frozen=True, slots=True)
class World:
    """What is true, whatever the machine believes; all times in seconds on a host of speed 1.

    Attributes
    ----------
    seconds, algorithms, lengths : ndarray of shape (n,)
        Duration without a limit, number of the algorithm, length of the dataset.
    speeds : ndarray of shape (hosts,)
    limit : float
        Seconds on any host after which an execution is ended.
    """

    seconds: Array
    algorithms: Array
    lengths: Array
    speeds: Array
    limit: float

    @classmethod
    def make(cls, hosts: int, executions: int, seed: int = 0) -> World:
        """Draw a world."""
        rng = np.random.default_rng([seed, hosts, executions])
        algorithms = np.arange(executions) * ALGORITHMS // executions
        datasets = np.arange(executions) % DATASETS
        rates = np.exp(rng.normal(-5, 1.2, ALGORITHMS))
        lengths = np.exp(rng.normal(np.log(10_000), 0.8, DATASETS))
        noise = np.exp(rng.normal(0, 0.3, executions))
        seconds = rates[algorithms] * lengths[datasets] * noise
        speeds = rng.uniform(0.7, 1.3, hosts)
        return cls(seconds, algorithms, lengths[datasets], speeds, float(np.quantile(seconds, 1 - LIMIT_HIT)))

    @property
    def bound(self) -> float:
        """Makespan that no schedule can be shorter than."""
        least = np.minimum(self.seconds, self.limit * self.speeds.min())
        longest = min(float(self.seconds.max() / self.speeds.max()), self.limit)
        return max(float(least.sum() / self.speeds.sum()), longest)

    def took(self, execution: int, host: int) -> float:
        """Return how long an execution takes on a host."""
        return min(float(self.seconds[execution] / self.speeds[host]), self.limit)


def known(world: World, seed: int = 1) -> list[Execution]:
    """Return the executions as the machine knows them."""
    rng = np.random.default_rng(seed)
    estimates = world.seconds * np.exp(rng.normal(0, ERROR, len(world.seconds)))
    new = set(rng.permutation(ALGORITHMS)[: int(ALGORITHMS * UNKNOWN)].tolist())
    earlier = ~np.isin(world.algorithms, list(new))
    rate = float(np.exp(np.log(estimates[earlier] / world.lengths[earlier]).mean()))
    names = [f"algorithm{number}" for number in range(ALGORITHMS)]
    found = []
    for number, algorithm in enumerate(world.algorithms.tolist()):
        unknown = algorithm in new
        guess = float(rate * world.lengths[number] if unknown else estimates[number])
        found.append(Execution(str(number), Cell(names[algorithm], "", "", "", 1), guess, measured=not unknown))
    return found


def scheduled(world: World, executions: list[Execution], seed: int = 2) -> tuple[float, float]:
    """Play the world against the machine; return the makespan and the machine's CPU seconds per execution."""
    rng = np.random.default_rng(seed)
    machine = Machine(executions, "run")
    now = spent = 0.0
    happening: list[tuple[float, str, Event]] = []

    def send(attempts: tuple[Attempt, ...], at: float) -> None:
        host = int(attempts[0].host)
        for attempt in attempts:
            took = world.took(int(attempt.execution), host)
            if rng.random() < LOST:
                at += took * rng.random()
                heapq.heappush(happening, (at, attempt.id, Interrupted(attempt.id, "lost")))
            else:
                outcome = Outcome.TIMEOUT if took >= world.limit else Outcome.OK
                report = Report(attempt.id, outcome, attempt.host, at, at + took)
                at += took
                heapq.heappush(happening, (at, attempt.id, Reported(report)))

    def tell(event: Event) -> bool:
        nonlocal spent
        begin = time.process_time()
        commands: list[Command] = machine.handle(event, now)[0]
        spent += time.process_time() - begin
        for command in commands:
            if isinstance(command, Start):
                send(command.attempts, now)
        return any(isinstance(command, Finish) for command in commands)

    for host in range(len(world.speeds)):
        tell(HostUp(str(host), 1))
    while happening:
        now, _, event = heapq.heappop(happening)
        if tell(event):
            break
    assert machine.remaining == 0
    return now, spent / len(executions)


def in_order(world: World, order: Array, seed: int = 2) -> float:
    """Return the makespan when each host takes the next of an order as soon as it is free."""
    rng = np.random.default_rng(seed)
    waiting = order.tolist()[::-1]
    free = [(0.0, host) for host in range(len(world.speeds))]
    heapq.heapify(free)
    end = 0.0
    while waiting:
        now, host = heapq.heappop(free)
        execution = waiting.pop()
        took = world.took(execution, host)
        if rng.random() < LOST:
            took *= rng.random()
            waiting.insert(0, execution)
        heapq.heappush(free, (now + took, host))
        end = max(end, now + took)
    return end


def rows(cases: tuple[tuple[int, int], ...], seed: int) -> Iterator[Row]:
    """Yield the makespans of each case, as multiples of the bound."""
    for hosts, count in cases:
        world = World.make(hosts, count, seed)
        makespan, cpu = scheduled(world, known(world))
        label = f"{count:.0e} executions on {hosts} nodes".replace("e+0", "e")
        shuffled = np.random.default_rng(3).permutation(count)
        listed = in_order(world, np.arange(count)) / world.bound
        yield Row(f"{label}, against list order", makespan / world.bound, listed, "bounds", GOAL, absolute=True)
        random = in_order(world, shuffled) / world.bound
        yield Row(f"{label}, against random order", makespan / world.bound, random, "bounds", GOAL, absolute=True)
        yield Row(f"{label}, CPU of a decision", cpu * 1e6, None, "us CPU")


def main() -> None:
    """Play and print; exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of a table")
    parser.add_argument("--full", action="store_true", help="up to 1e6 executions: some minutes")
    parser.add_argument("--seed", type=int, default=0, help="draws another world")
    arguments = parser.parse_args()
    missed = False

    def watched() -> Iterator[Row]:
        nonlocal missed
        for row in rows(FULL if arguments.full else CASES, arguments.seed):
            missed = missed or row.met is False
            yield row

    show(watched(), as_json=arguments.json)
    sys.exit(missed)


if __name__ == "__main__":
    main()
