"""The loop between an engine, the state machine and the journal.

Events come from the engine; the machine says what is to be recorded and what is to be done; rows are durable before
anything is done. The loop decides nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from timeeval.engines.base import Parcel
from timeeval.errors import EngineError
from timeeval.run.machine import Machine
from timeeval.run.model import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    Cancel,
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
    Row,
    SetAside,
    Start,
    StopRequested,
    Tick,
)

if TYPE_CHECKING:
    from timeeval.engines.base import Engine
    from timeeval.run.files import Files
    from timeeval.run.journal import Journal
    from timeeval.run.policy import Policy

_log = logging.getLogger("TimeEval")
_T = TypeVar("_T")

GROUP_SECONDS = 0.04  # so long an outcome may wait for others to be recorded with
CANCEL_PATIENCE = 30.0  # seconds an engine has to end what runs, once it was told to
_FAILURES = frozenset((Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM))


class Progress(Protocol):
    """Where the loop tells how far it is."""

    def update(self, remaining: int, running: int) -> None:
        """Say how many experiments have no outcome yet and how many run."""


class Search(Protocol):
    """What draws parameters during a run; it may take its time and is called from the thread that writes."""

    def draw(self, key: str) -> None:
        """Fix the parameters of an execution; called before its job is made."""

    def tell(self, rows: Iterable[Row], keys: Mapping[str, str]) -> None:
        """Learn of rows that are durable; `keys` has the execution of each attempt."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes
    ----------
    run_id : str
        Prefix of the attempt ids.
    executions : sequence of Execution
        What is due.
    job_of : callable
        Makes the job of an execution key for a host with so many slots; may raise
        `timeeval.run.packing.PackingError`.
    before, after : bytes, optional
        Jobs that every host does once, before the first and after the last experiment.
    search : Search, optional
        Draws parameters before jobs are made and learns from outcomes.
    parts : mapping of str to bytes
        What jobs have in common, by the digest by which they name it; it grows while jobs are made.
    """

    run_id: str
    executions: Sequence[Execution]
    job_of: Callable[[str, int], bytes]
    before: bytes | None = None
    after: bytes | None = None
    search: Search | None = None
    parts: Mapping[str, bytes] = field(default_factory=dict)


class Loop:
    """Carries one run from its first event to its end.

    Parameters
    ----------
    engine : Engine
        Started by `start`, stopped by `stop`.
    journal : Journal
        A run must have begun in it before `run`.
    files : Files
        Told of every attempt that ended, once the journal has it.
    policy : Policy, optional
        Bounds for retries.
    grace : float
        Seconds that running experiments get to end by themselves after a stop was asked for.
    progress : Progress, optional
        Told after each step.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        files: Files,
        *,
        policy: Policy | None = None,
        grace: float = 20.0,
        progress: Progress | None = None,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._files = files
        self._policy = policy
        self._grace = grace
        self._progress = progress
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="timeeval-journal")
        self._stop_deadline: float | None = None
        self._hosts: dict[str, int] = {}
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Unix seconds, but never going back."""
        return self._offset + time.monotonic()

    def post(self, event: Event) -> None:
        """Take in an event; to be called from the event loop's thread."""
        if isinstance(event, StopRequested):
            if event.now:
                self._stop_deadline = self._stop_deadline or time.monotonic() + CANCEL_PATIENCE
            else:
                asyncio.get_running_loop().call_later(self._grace, self.post, StopRequested(now=True))
        self._events.put_nowait(event)

    async def start(self) -> None:
        """Bring the engine up."""
        await self._engine.start(self.post)

    async def stop(self) -> None:
        """End everything the engine started."""
        try:
            await self._engine.stop()
        finally:
            self._writer.shutdown()

    async def run(self, work: Work, prior_attempts: Mapping[str, int], cells: Mapping[str, Cell]) -> str:
        """Do the work; return why it ended before everything was done, or an empty text.

        Parameters
        ----------
        work : Work
            What is due.
        prior_attempts : mapping of str to int
            Attempts of earlier runs, by execution key.
        cells : mapping of str to Cell
            The row that each execution fills, by key.
        """
        machine = Machine(work.executions, work.run_id, prior_attempts, self._policy)
        ticker = asyncio.create_task(self._tick())
        try:
            return await self._drive(machine, work, cells)
        finally:
            ticker.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.post(Tick())

    async def _drive(self, machine: Machine, work: Work, cells: Mapping[str, Cell]) -> str:
        keys: dict[str, str] = {}  # execution of each attempt that is out
        preparing: dict[str, HostUp] = {}
        while True:
            commands: list[Command] = []
            rows: list[Row] = []
            for event in await self._next_events(machine):
                effective = await self._prepared(event, work, preparing)
                if effective is None:
                    continue
                more_commands, more_rows = machine.handle(effective, self.now())
                commands += more_commands
                rows += more_rows
            if rows:
                keys.update({row.attempt.id: row.attempt.execution for row in rows if isinstance(row, AttemptStarted)})
                await self._in_writer(self._journal.write, rows)
                if work.search is not None:
                    await self._in_writer(work.search.tell, rows, keys)
                self._tell(rows, keys, cells)
            reason = await self._obey(commands, work)
            if self._progress is not None:
                self._progress.update(machine.remaining, machine.running_count)
            if reason is not None:
                await self._finalize(work)
                return reason
            self._insist(machine)

    async def _next_events(self, machine: Machine) -> list[Event]:
        """Wait for an event, and for more while no slot is idle because of it: what comes together is one commit."""
        events = [await self._events.get()]
        deadline = asyncio.get_running_loop().time() + GROUP_SECONDS
        while machine.can_wait(events[-1]):
            try:
                async with asyncio.timeout_at(deadline):
                    events.append(await self._events.get())
            except TimeoutError:
                break
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def _obey(self, commands: Iterable[Command], work: Work) -> str | None:
        """Carry commands out; return the reason of `Finish`, None while the run goes on."""
        for command in commands:
            match command:
                case Start(attempts):
                    await self._submit(attempts, work)
                case Cancel(attempt_id):
                    await self._engine.cancel(attempt_id)
                case SetAside(host, reason):
                    _log.warning("%s is not used any more: %s", host, reason)
                case Finish(reason):
                    return reason
        return None

    async def _submit(self, attempts: Sequence[Attempt], work: Work) -> None:
        from timeeval.run.packing import PackingError

        sent: list[Attempt] = []
        jobs: list[bytes] = []
        for attempt in attempts:
            try:
                if work.search is not None:
                    await self._in_writer(work.search.draw, attempt.execution)
                jobs.append(work.job_of(attempt.execution, self._hosts[attempt.host]))
                sent.append(attempt)
            except PackingError as error:
                now = self.now()
                self.post(Reported(Report(attempt.id, Outcome.ERROR, attempt.host, now, now, error=repr(error))))
        if not sent:
            return
        try:
            await self._engine.submit(Parcel(tuple(sent), tuple(jobs), work.parts))
        except EngineError as error:
            for attempt in sent:
                self.post(Interrupted(attempt.id, str(error)))

    def _insist(self, machine: Machine) -> None:
        """Do not wait for ever for an engine that does not end what it was told to end."""
        if self._stop_deadline is not None and time.monotonic() > self._stop_deadline:
            for attempt in machine.running:
                self.post(
                    Interrupted(
                        attempt.id,
                        f"{attempt.host} did not confirm within {CANCEL_PATIENCE:g} s that it was cancelled",
                        cancelled=True,
                    )
                )

    # --- once per host --------------------------------------------------------------------------------------------

    async def _prepared(self, event: Event, work: Work, preparing: dict[str, HostUp]) -> Event | None:
        """Hold a host back until it is prepared; raises `EngineError` when that fails."""
        match event:
            case HostUp(host, slots):
                fresh = host not in self._hosts
                self._hosts[host] = slots
                if work.before is None or not fresh:
                    return event
                attempt = Attempt(f"{work.run_id}-before{len(self._hosts)}", "", 1, host)
                preparing[attempt.id] = event
                await self._engine.submit(Parcel((attempt,), (work.before,)))
                return None
            case Reported(report) if report.attempt in preparing:
                held = preparing.pop(report.attempt)
                if report.outcome is not Outcome.OK:
                    raise EngineError(f"preparing an algorithm failed: {report.error}", host=held.host)
                return held
            case Interrupted(attempt_id, reason) if attempt_id in preparing:
                raise EngineError(f"preparing an algorithm failed: {reason}", host=preparing.pop(attempt_id).host)
        return event

    async def _finalize(self, work: Work) -> None:
        if work.after is None:
            return
        waiting: dict[str, str] = {}
        for number, host in enumerate(self._hosts, start=1):
            attempt = Attempt(f"{work.run_id}-after{number}", "", 1, host)
            waiting[attempt.id] = host
            try:
                await self._engine.submit(Parcel((attempt,), (work.after,)))
            except EngineError as error:
                _log.warning("%s was not finalized: %s", waiting.pop(attempt.id), error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while waiting:
                    match await self._events.get():
                        case Reported(report) if report.attempt in waiting:
                            host = waiting.pop(report.attempt)
                            if report.outcome is not Outcome.OK:
                                _log.warning("finalizing an algorithm failed on %s: %s", host, report.error)
                        case Interrupted(attempt_id, reason) if attempt_id in waiting:
                            _log.warning("finalizing failed on %s: %s", waiting.pop(attempt_id), reason)
        for host in waiting.values():
            _log.warning("%s did not end the finalizing of its algorithms within 60 s", host)

    # --- files ----------------------------------------------------------------------------------------------------

    def _tell(self, rows: Iterable[Row], keys: dict[str, str], cells: Mapping[str, Cell]) -> None:
        """Tell who brings files of the attempts whose end is recorded."""
        for row in rows:
            if isinstance(row, AttemptEnded):
                cell = cells[keys.pop(row.report.attempt)]
                self._files.ended(row.report, cell)
                _say_failure(row.report, cell)

    async def _in_writer(self, function: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function, *args)


def _say_failure(report: Report, cell: Cell) -> None:
    if report.outcome in _FAILURES:
        _log.error(
            "%s on %s/%s (repetition %d, parameters %s) ended with %s: %s",
            cell.algorithm,
            cell.collection,
            cell.dataset,
            cell.repetition,
            cell.hyper_params_id,
            report.outcome.name,
            report.error,
        )
