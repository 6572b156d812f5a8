"""How near the state machine's order comes to the best there is: `python -m benchmarks.scheduling [--json] [--full]`.

A world of hosts is played against the real `Machine`, its clock included; nothing is computed. What is assumed:

* an execution takes rate of its algorithm x length of its dataset x noise, log-normal all three, divided by the speed
  of its host; speeds lie between 0.7 and 1.3 and nobody knows them;
* the time limit is the duration that 1 % exceed; they take exactly the limit;
* the machine knows each duration with a log-normal error of sigma 0.7; of a fifth of the algorithms, which no earlier
  run had, it knows the length of the dataset and how long the others take per point;
* 2 % of all attempts are lost after a part of their time and have to run again: which and when belongs to the world.

The bound is the larger of all work / all speed and of the longest single execution on the fastest host, what is lost of
each counted in; no schedule can be shorter. List order (the grid's, algorithm by algorithm) and random order get the
same world.

With ten executions for each node the longest ones decide, and they cannot be divided: one that is begun late, or lost
near its end, is the makespan. So these worlds are also played by one who knows all durations and speeds beforehand,
though not what will be lost: the longest execution first, each where it ends earliest. Rows are means of some worlds
and have no goal: what nobody knows beforehand decides there.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from dataclasses import dataclass
from itertools import chain
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
TIGHT = ((10, 100), (100, 1000), (1000, 10_000))
WORLDS = 5
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
    lost : ndarray of shape (n, 2)
        After which part of their time its first two attempts are lost; NaN: not lost.
    """

    seconds: Array
    algorithms: Array
    lengths: Array
    speeds: Array
    limit: float
    lost: Array

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
        limit = float(np.quantile(seconds, 1 - LIMIT_HIT))
        lost = np.where(rng.random((executions, 2)) < LOST, rng.random((executions, 2)), np.nan)
        lost[np.isnan(lost[:, 0]), 1] = np.nan
        return cls(seconds, algorithms, lengths[datasets], speeds, limit, lost)

    @property
    def bound(self) -> float:
        """Makespan that no schedule can be shorter than."""
        again = 1 + np.nansum(self.lost, axis=1)
        least = np.minimum(self.seconds, self.limit * self.speeds.min()) * again
        longest = np.minimum(self.seconds / self.speeds.max(), self.limit) * again
        return max(float(least.sum() / self.speeds.sum()), float(longest.max()))

    def took(self, execution: int, host: int) -> float:
        """Return how long an execution takes on a host."""
        return min(float(self.seconds[execution] / self.speeds[host]), self.limit)

    def part(self, execution: int, attempt: int) -> float:
        """Return which part of its time an attempt (counting from 1) takes, less than 1 if it is lost."""
        lost = float(self.lost[execution, attempt - 1]) if attempt <= self.lost.shape[1] else np.nan
        return 1.0 if np.isnan(lost) else lost


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


def scheduled(world: World, executions: list[Execution]) -> tuple[float, float]:
    """Play the world against the machine; return the makespan and the machine's CPU seconds per execution."""
    machine = Machine(executions, "run")
    now = spent = 0.0
    happening: list[tuple[float, str, Event]] = []

    def send(attempts: tuple[Attempt, ...], at: float) -> None:
        host = int(attempts[0].host)
        for attempt in attempts:
            took = world.took(int(attempt.execution), host)
            part = world.part(int(attempt.execution), attempt.number)
            if part < 1:
                at += took * part
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


def in_order(world: World, order: Array) -> float:
    """Return the makespan when each host takes the next of an order as soon as it is free."""
    waiting = [(execution, 1) for execution in order.tolist()[::-1]]
    free = [(0.0, host) for host in range(len(world.speeds))]
    heapq.heapify(free)
    end = 0.0
    while waiting:
        now, host = heapq.heappop(free)
        execution, attempt = waiting.pop()
        part = world.part(execution, attempt)
        took = world.took(execution, host) * part
        if part < 1:
            waiting.insert(0, (execution, attempt + 1))
        heapq.heappush(free, (now + took, host))
        end = max(end, now + took)
    return end


def clairvoyant(world: World) -> float:
    """Return the makespan of one who knows all durations and speeds, but not what will be lost."""
    free = np.zeros(len(world.speeds))
    waiting = [(-float(seconds), number, 1, 0.0) for number, seconds in enumerate(world.seconds)]
    heapq.heapify(waiting)
    while waiting:
        size, execution, attempt, since = heapq.heappop(waiting)
        took = np.minimum(-size / world.speeds, world.limit)
        begin = np.maximum(free, since)
        host = int(np.argmin(begin + took))
        part = world.part(execution, attempt)
        free[host] = begin[host] + took[host] * part
        if part < 1:
            heapq.heappush(waiting, (size, execution, attempt + 1, float(free[host])))
    return float(free.max())


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


def tight_rows(cases: tuple[tuple[int, int], ...], seed: int) -> Iterator[Row]:
    """Yield the makespans of worlds with few executions for each node, as multiples of the bound."""
    for hosts, count in cases:
        ours, knowing, listed = [], [], []
        for number in range(WORLDS):
            world = World.make(hosts, count, seed + number)
            ours.append(scheduled(world, known(world))[0] / world.bound)
            knowing.append(clairvoyant(world) / world.bound)
            listed.append(in_order(world, np.arange(count)) / world.bound)
        label = f"{count:.0e} executions on {hosts} nodes".replace("e+0", "e")
        mean = float(np.mean(ours))
        yield Row(f"{label}, against list order", mean, float(np.mean(listed)), "bounds")
        yield Row(f"{label}, against one who knows all", mean, float(np.mean(knowing)), "bounds")


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
        wide = rows(FULL if arguments.full else CASES, arguments.seed)
        for row in chain(wide, tight_rows(TIGHT, arguments.seed)):
            missed = missed or row.met is False
            yield row

    show(watched(), as_json=arguments.json)
    sys.exit(missed)


if __name__ == "__main__":
    main()
