"""One run from its grid to its record: journal, engine, signals and files around the loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from timeeval.run import layout, provenance
from timeeval.run import session as sessions
from timeeval.run.collected import Collect
from timeeval.run.collecting import Collector
from timeeval.run.files import Files, FilesHere
from timeeval.run.journal import FILE_NAME, Journal, rows_of
from timeeval.run.loop import Loop, Progress, Work
from timeeval.run.model import Cell, Execution, Outcome, Report, StopRequested
from timeeval.run.records import Lacking, MetricIdentity, ResultRow, RunInfo
from timeeval.run.rescoring import Rescorer, ScoringJob

if TYPE_CHECKING:
    from pathlib import Path

    from timeeval.run.search import Searches
    from timeeval.run.session import Place

_log = logging.getLogger("TimeEval")
GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to be done in one run.

    Attributes
    ----------
    grid : iterable of (Execution, mapping)
        Each cell in order, with what its result row says of it; gone through several times.
    job_of : callable
        Makes the job of an execution key for a host with so many slots.
    scoring_job_of : callable
        Makes the job that computes metrics of stored scores; default: there is none, what lacks a metric runs again.
    retry : frozenset of Outcome
        Outcomes of earlier runs that are due again.
    before, after : bytes, optional
        Jobs for every host of a remote engine.
    searches : Searches, optional
        Draw parameters during the run.
    collect : Collect
        How much of what experiments write on hosts travels to the results folder.
    parts : mapping of str to bytes
        What jobs have in common, by the digest by which they name it.
    """

    results_path: Path
    info: RunInfo
    grid: Iterable[tuple[Execution, Mapping[str, Any]]]
    job_of: Callable[[str, int], bytes]
    scoring_job_of: ScoringJob = lambda *_: None
    retry: frozenset[Outcome] = frozenset()
    before: bytes | None = None
    after: bytes | None = None
    searches: Searches | None = None
    collect: Collect = Collect.ALL
    parts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Outcomes:
    """What became of a run.

    Attributes
    ----------
    results_path : Path
        Where the record is.
    run_id : str
        Which run of that folder it was.
    counts : Counter
        How many cells ended how; ``missing``: those without an outcome.
    reason : str
        Why it ended before all was done; empty when all was.
    signal : signal.Signals, optional
        The signal that ended it.
    """

    results_path: Path
    run_id: str
    counts: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    signal: signal.Signals | None = None

    @property
    def rows(self) -> list[ResultRow]:
        """Read the grid with its records, cells without an outcome included; large runs had better go through it."""
        return list(rows_of(self.results_path / FILE_NAME, self.run_id))


def conduct(plan: Plan, place: Place, progress: Progress | None = None, grace: float = GRACE) -> Outcomes:
    """Carry out a run; whatever ends it, what was finished is recorded and the engine is stopped.

    Parameters
    ----------
    plan : Plan
        What to do.
    place : Place
        Where.
    progress : Progress, optional
        Told how far it is.
    grace : float
        Seconds that running experiments get to end after the first Ctrl-C.

    Raises
    ------
    timeeval.errors.TimeEvalError
        If the journal is in use or the engine cannot be started.
    """
    conductor = _Conductor(plan, place, progress, grace)
    # A thread of its own: the caller's may have an event loop already (notebooks), and signals reach the caller's.
    thread = threading.Thread(target=conductor.work, name="timeeval-run")
    with _signals(conductor):
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
    if conductor.error is not None:
        raise conductor.error
    return conductor.outcomes


class _Conductor:
    def __init__(self, plan: Plan, place: Place, progress: Progress | None, grace: float) -> None:
        self._plan = plan
        self._place = place
        self._progress = progress
        self._grace = grace
        self._asyncio: asyncio.AbstractEventLoop | None = None
        self._loop: Loop | None = None
        self._interruptible: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._signals = 0
        self._cells = {execution.key: execution.cell for execution, _ in plan.grid}
        self.outcomes = Outcomes(plan.results_path, plan.info.id)
        self.error: BaseException | None = None

    # --- signals, from the main thread ----------------------------------------------------------------------------

    def stop(self, number: signal.Signals) -> None:
        self._signals += 1
        self.outcomes.signal = number
        if self._asyncio is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed: nothing is left to stop
                self._asyncio.call_soon_threadsafe(self._stop, self._signals > 1)

    def _stop(self, now: bool) -> None:
        if self._interruptible is not None and (now or self._loop is None or not self._driving):
            self._interruptible.cancel()
        if self._loop is not None:
            self._loop.post(StopRequested(now))

    _driving = False

    # --- the run, in its thread -----------------------------------------------------------------------------------

    def work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            self.error = error

    async def _run(self) -> None:
        self._asyncio = asyncio.get_running_loop()
        plan = self._plan
        with Journal.open(plan.results_path / FILE_NAME) as journal:
            if (session := sessions.current()) is not None:
                session.on_claim(plan.results_path)
            files = self._make_files()
            try:
                journal.adopt(layout.kept_outcomes(plan.results_path))
                if self._place.depot is None:
                    _give_up_open(journal)
                journal.begin_run(plan.info, plan.grid)
                provenance.write(plan.results_path, journal.runs())
                await self._record(journal, files)
            finally:
                await files.close([attempt for attempt, _ in journal.open_attempts()])

    def _make_files(self) -> Files:
        depot = self._place.depot
        if depot is None:
            return FilesHere(self._plan.results_path)
        return Collector(depot, self._plan.results_path, self._plan.collect)

    async def _record(self, journal: Journal, files: Files) -> None:
        """Compute, and write down how it ended, whatever ends it.

        Files are collected while the engine ends: a host that is gone is waited for once.
        """
        reason = "broken off"
        try:
            reason = await self._compute(journal, files)
            left: list[str] = []
            files.want(journal.each_row(self._plan.info.id))
            if not await self._unless_stopped(_settled(files, left)):
                reason = reason or "stopped while results were collected"
            reason = "; ".join(part for part in (reason, *left) if part)
        finally:
            if self._stopping is not None:
                await self._stopping
            journal.end_run(time.time(), reason)
            self.outcomes.reason = reason
            self._count(journal)

    def _count(self, journal: Journal) -> None:
        rows = journal.each_row(self._plan.info.id)
        self.outcomes.counts.update("missing" if row.outcome is None else row.outcome.value for row in rows)

    async def _compute(self, journal: Journal, files: Files) -> str:
        plan = self._plan
        if self._signals:
            return "stopped on request"
        if not await self._unless_stopped(self._score_stored(journal, files)):
            return "stopped while metrics of stored scores were computed"
        lacking = journal.lacking()
        due = _due(journal, plan, lacking)
        if self._progress is not None:
            self._progress.update(len(due), running=0)
        await self._catch_up(journal)
        if not due:
            return ""
        keys = {execution.key for execution in due}
        files.want(row for row in journal.each_row(plan.info.id) if row.key not in keys)
        self._loop = Loop(
            self._place.engine,
            journal,
            files,
            policy=self._place.policy,
            grace=self._grace,
            progress=self._progress,
        )
        try:
            if not await self._unless_stopped(self._loop.start()):
                return "stopped while the hosts were started"
            if (session := sessions.current()) is not None:
                session.on_up(plan.results_path)
            if journal.open_attempts():  # its hosts have ended by now what an earlier driver had left running
                if not await self._unless_stopped(self._recover(journal, files)):
                    return "stopped while earlier results were collected"
                await self._catch_up(journal)
                lacking = journal.lacking()
                due = _due(journal, plan, lacking)
            return await self._drive(self._loop, journal, due, lacking)
        finally:
            self._stopping = asyncio.create_task(self._loop.stop())

    async def _score_stored(self, journal: Journal, files: Files) -> None:
        """Compute what is lacking of metrics and can be had without running an algorithm."""
        lacking = journal.lacking()
        if not lacking:
            return
        files.want((row for row in journal.each_row(self._plan.info.id) if row.key in lacking), scores=True)
        await files.settle()
        rescorer = Rescorer(self._plan.results_path, self._cells.__getitem__, self._plan.scoring_job_of)
        await rescorer.run(journal.lacking(), journal)

    async def _recover(self, journal: Journal, files: Files) -> None:
        """Take in what earlier runs left on the hosts, so that none of it is computed again."""
        await files.recover(journal.open_attempts())
        journal.adopt(layout.kept_outcomes(self._plan.results_path))
        _give_up_open(journal)
        await self._score_stored(journal, files)

    async def _drive(
        self, loop: Loop, journal: Journal, due: Sequence[Execution], lacking: Mapping[str, Lacking]
    ) -> str:
        plan = self._plan
        if not due:
            return ""
        _say_what_runs_again(lacking, self._cells)
        work = Work(plan.info.id, due, plan.job_of, plan.before, plan.after, plan.searches, plan.parts)
        self._driving = True
        try:
            return await loop.run(work, journal.attempts_made(), self._cells)
        finally:
            self._driving = False

    async def _catch_up(self, journal: Journal) -> None:
        if self._plan.searches is not None:
            await asyncio.to_thread(self._plan.searches.catch_up, journal.runs(), journal.rows(self._plan.info.id))

    async def _unless_stopped(self, step: Any) -> bool:  # noqa: ANN401 - a coroutine
        """Await a step that a signal may cut short; tell whether it was done."""
        task = self._interruptible = asyncio.ensure_future(step)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled() or not self._signals:
                raise
            return False
        finally:
            self._interruptible = None
        return True


async def _settled(files: Files, left: list[str]) -> None:
    if problem := await files.settle():
        left.append(f"{problem}; `timeeval-results fetch` brings them")


@contextlib.contextmanager
def _signals(conductor: _Conductor) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run in good order; an ignored signal stays ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        first = conductor.outcomes.signal is None
        conductor.stop(signal.Signals(number))
        _log.warning(
            "%s: running experiments get %g s to end; once more stops them at once"
            if first
            else "%s: stopping now (%g s are not waited for)",
            signal.Signals(number).name,
            GRACE,
        )

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _give_up_open(journal: Journal) -> None:
    """Close attempts of a driver that is gone, and with it (or soon, by its lease) what it started."""
    now = time.time()
    cause = "the driver ended before this attempt did"
    journal.adopt(
        Report(attempt, Outcome.INFRA, host, now, now, error=cause) for attempt, host in journal.open_attempts()
    )


def _due(journal: Journal, plan: Plan, lacking: Mapping[str, Lacking]) -> list[Execution]:
    """Return what has to be computed: no outcome yet, one that is due again, or one without a metric asked for now."""
    finished = journal.finished(plan.info.limits, plan.retry)
    due: dict[str, Execution] = {}
    for execution, _ in plan.grid:
        if execution.key not in finished or execution.key in lacking:
            due.setdefault(execution.key, execution)
    return list(due.values())


def _say_what_runs_again(lacking: Mapping[str, Lacking], cells: Mapping[str, Cell]) -> None:
    if not lacking:
        return
    names = list(dict.fromkeys(name for lack in lacking.values() for name in lack.names))
    some = [f"{cell.algorithm} on {cell.collection}/{cell.dataset}" for cell in map(cells.__getitem__, lacking)][:3]
    _log.warning(
        "%d experiments run again for the metrics %s, because their scores are not stored here: %s%s",
        len(lacking),
        ", ".join(names),
        "; ".join(some),
        ", …" if len(lacking) > len(some) else "",
    )


def metric_identities(metrics: Sequence[Any]) -> dict[str, MetricIdentity]:
    """Return what makes the values of metrics comparable, by column name."""
    from timeeval.metrics.scoring import column_names

    return {
        name: MetricIdentity(json.dumps(metric.arguments(), sort_keys=True, default=repr), metric.definition_version)
        for name, metric in zip(column_names(metrics), metrics, strict=True)
    }


def unique_cells(grid: Iterable[tuple[Execution, Mapping[str, Any]]]) -> Cell | None:
    """Return a cell that two different executions would fill, None if there is none."""
    keys: dict[Cell, str] = {}
    for execution, _ in grid:
        if keys.setdefault(execution.cell, execution.key) != execution.key:
            return execution.cell
    return None
