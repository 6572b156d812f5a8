"""Results travel while the run goes on: finished experiments' files come from the hosts to the driver.

One desk per host holds what is wanted from there; desks are served one round after the other, some of them at a time. A
round that fails is said and repeated; what is still missing when the run ends is brought then, or named.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from timeeval.errors import EngineError
from timeeval.run import layout
from timeeval.run.collected import Collect, Collected
from timeeval.run.files import OPEN_ENDED
from timeeval.run.model import Cell, Outcome, Report

if TYPE_CHECKING:
    from timeeval.run.records import ResultRow

_log = logging.getLogger("TimeEval")

PAUSE_SECONDS = 2.0  # between two rounds at one host, so that short experiments travel together
LONGEST_PAUSE = 60.0
LEISURE = 10  # a round took so many times less than the pause after it
BATCH = 500
LAST_TRIES = 3
LAST_SECONDS = 20.0
"""A host that could not be asked for so long is asked once more at the end."""
LOG_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Brought:
    """What one round brought from a host.

    Attributes
    ----------
    files, size : int
        Number and bytes of what travelled.
    failed : mapping of str to str
        Attempt -> why not all of its files are here; asking again may help.
    refused : mapping of str to str
        Attempt -> why something of it stays there for good.
    """

    files: int = 0
    size: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Depot(Protocol):
    """The hosts' own copies of what experiments wrote. Methods block, and are called for one host one at a time."""

    parallel: int
    """Hosts that may be asked at a time."""

    def fetch(
        self, host: str, attempts: Mapping[str, Collection[str]], level: Collect, recorded: Sequence[str]
    ) -> Brought:
        """Bring the files of attempts below ``.timeeval/attempts`` of the results folder.

        Parameters
        ----------
        host : str
        attempts : mapping of str to collection of str
            Attempts that have ended, each with those of its files that are here already.
        level : Collect
            How much of them.
        recorded : sequence of str
            Attempts whose outcomes the journal has for good: the host's copies of these may go.

        Raises
        ------
        EngineError
            When the host cannot be asked.
        """
        ...

    def outcomes(self, host: str, attempts: Sequence[str]) -> None:
        """Bring the kept outcomes of attempts, as far as there are any; raises `EngineError`."""
        ...

    def logs(self) -> None:
        """Bring what the engine logged on the hosts, as far as it can be had; never raises for what cannot."""
        ...

    def close(self) -> None:
        """End what runs, from any thread, and all connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Item:
    cell: Cell
    level: Collect
    outcome: Outcome


@dataclass(slots=True)
class _Desk:
    """What is wanted from one host."""

    host: str
    wanted: dict[str, _Item] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    problem: str = ""
    since: float = 0.0  # when the round began that met the problem first
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def idle(self) -> bool:
        return not self.wanted and not self.recorded


class Collector:
    """Brings the files of a cluster's run.

    Parameters
    ----------
    depot : Depot
        Where they are.
    results_path : Path
        Results folder on the driver.
    level : Collect
        How much of them is brought.
    """

    def __init__(self, depot: Depot, results_path: Path, level: Collect) -> None:
        self._depot = depot
        self._results_path = results_path
        self._level = level
        self._collected = Collected(results_path)
        self._desks: dict[str, _Desk] = {}
        self._recovered: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._turns = asyncio.Semaphore(depot.parallel)
        self._threads = ThreadPoolExecutor(depot.parallel, thread_name_prefix="timeeval-collect")

    # --- what is wanted ---------------------------------------------------------------------------------------------

    async def recover(self, open_attempts: Iterable[tuple[str, str]]) -> None:
        """Bring kept outcomes; a host that cannot be asked now is named, and what it may have is computed again."""
        by_host: dict[str, list[str]] = {}
        for attempt, host in open_attempts:
            by_host.setdefault(host, []).append(attempt)

        async def one(host: str, attempts: list[str]) -> None:
            try:
                async with self._desk(host).turn, self._turns:
                    await asyncio.get_running_loop().run_in_executor(
                        self._threads, self._depot.outcomes, host, attempts
                    )
                self._recovered.update(attempts)
            except EngineError as error:
                _log.warning("what %d attempts on %s came to is not known: %s", len(attempts), host, error)

        await asyncio.gather(*(one(host, attempts) for host, attempts in by_host.items()))

    def ended(self, report: Report, cell: Cell) -> None:
        """Want the files of an attempt that ended, and let its host forget the outcome."""
        desk = self._desk(report.host)
        desk.recorded.add(report.attempt)
        if report.outcome not in OPEN_ENDED:
            self._want(desk, report.attempt, _Item(cell, self._level, report.outcome))
        desk.awake.set()

    def want(self, rows: Iterable[ResultRow], *, scores: bool = False) -> None:
        """Want the files of records that are not here."""
        level = Collect.SCORES if scores and not self._level.covers(Collect.SCORES) else self._level
        for row in rows:
            if row.attempt is None or row.host is None or row.outcome is None:
                continue
            if not layout.experiment_dir(self._results_path, row.cell).is_dir():
                self._collected.lost(row.attempt)
            desk = self._desk(row.host)
            if row.attempt in self._recovered:
                desk.recorded.add(row.attempt)
            self._want(desk, row.attempt, _Item(row.cell, level, row.outcome))
            desk.awake.set()

    def _want(self, desk: _Desk, attempt: str, item: _Item) -> None:
        if not self._collected.level(attempt).covers(item.level):
            desk.wanted[attempt] = item

    def _desk(self, host: str) -> _Desk:
        desk = self._desks.get(host)
        if desk is None:
            desk = self._desks[host] = _Desk(host)
            self._tasks.append(asyncio.create_task(self._serve(desk)))
        return desk

    # --- rounds -----------------------------------------------------------------------------------------------------

    async def _serve(self, desk: _Desk) -> None:
        """Bring what is wanted from a host while the run goes on."""
        pause = PAUSE_SECONDS
        while True:
            await desk.awake.wait()
            await asyncio.sleep(pause)
            async with desk.turn:
                if desk.idle:
                    desk.awake.clear()
                    continue
                begun = time.monotonic()
                good = await self._round(desk)
                took = time.monotonic() - begun
            # collecting must neither keep this machine busy nor the hosts from what is measured there
            leisure = took * max(LEISURE, len(self._desks)) if good else 2 * pause + 1
            pause = min(max(PAUSE_SECONDS, leisure), LONGEST_PAUSE)

    async def _round(self, desk: _Desk) -> bool:
        """Ask a host once; tell whether all that was asked for came."""
        if not desk.problem:
            desk.since = time.monotonic()
        wanted = dict(list(desk.wanted.items())[:BATCH])
        recorded = sorted(desk.recorded)
        async with self._turns:
            loop = asyncio.get_running_loop()
            try:
                failed = await loop.run_in_executor(self._threads, self._bring, desk.host, wanted, recorded)
            except EngineError as error:
                self._say(desk, str(error), len(wanted))
                return False
        desk.recorded.difference_update(recorded)
        for attempt in wanted.keys() - failed.keys():
            del desk.wanted[attempt]
        if failed:
            self._say(desk, next(iter(failed.values())), len(failed))
        elif desk.problem:
            _log.warning("%s: what was to be collected from there has arrived now", desk.host)
            desk.problem = ""
        return not failed

    @staticmethod
    def _say(desk: _Desk, problem: str, count: int) -> None:
        if not desk.problem:
            _log.warning("the files of %d experiments did not arrive and are fetched again later: %s", count, problem)
        desk.problem = problem

    def _bring(self, host: str, wanted: Mapping[str, _Item], recorded: Sequence[str]) -> dict[str, str]:
        """Fetch files, give them their names and write that down; runs in a thread."""
        failed: dict[str, str] = {}
        for level in {item.level for item in wanted.values()} or {self._level}:
            items = {attempt: item for attempt, item in wanted.items() if item.level is level}
            here = {attempt: self._here(attempt, item.cell) for attempt, item in items.items()}
            brought = self._depot.fetch(host, here, level, recorded)
            for attempt, item in items.items():
                problem = brought.failed.get(attempt) or self._publish(attempt, item, add=bool(here[attempt]))
                if problem:
                    failed[attempt] = problem
                elif attempt in brought.refused and item.outcome is Outcome.OK:
                    _log.warning("%s: not all files of attempt %s came: %s", host, attempt, brought.refused[attempt])
            self._collected.note({attempt: level for attempt in items if attempt not in failed})
        return failed

    def _publish(self, attempt: str, item: _Item, *, add: bool) -> str:
        try:
            layout.publish(self._results_path, item.cell, attempt, add=add)
        except OSError as error:
            return f"they were not put in their place on this machine: {error}"
        return ""

    def _here(self, attempt: str, cell: Cell) -> list[str]:
        """Return the files of an attempt that were collected before."""
        if self._collected.level(attempt) is Collect.NONE:
            return []
        folder = layout.experiment_dir(self._results_path, cell)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    # --- the end ----------------------------------------------------------------------------------------------------

    async def settle(self) -> str:
        """Bring all that is wanted, now; name what cannot be had."""
        problems = await asyncio.gather(*(self._clear(desk) for desk in list(self._desks.values())))
        return "; ".join(problem for problem in problems if problem)

    async def _clear(self, desk: _Desk) -> str:
        tries = LAST_TRIES
        async with desk.turn:
            while tries and not desk.idle:
                if await self._round(desk):
                    continue
                tries = 0 if time.monotonic() > desk.since + LAST_SECONDS else tries - 1
                await asyncio.sleep(tries and 2 * PAUSE_SECONDS)
        owed = sum(item.outcome not in OPEN_ENDED for item in desk.wanted.values())
        if not owed:
            return ""
        return f"the files of {owed} experiments are still on {desk.host} ({desk.problem})"

    async def close(self, still_open: Sequence[str]) -> None:
        """End what runs, and bring logs; what arrived in part is used the next time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._depot.logs), LOG_SECONDS)
        await asyncio.to_thread(self._depot.close)
        self._threads.shutdown(wait=False, cancel_futures=True)
        layout.forget_outcomes(self._results_path, still_open)
        layout.tidy(self._results_path)
