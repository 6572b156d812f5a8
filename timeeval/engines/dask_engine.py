"""The Dask engine: hosts under guards, one Dask over them, attempts pinned to the slots of their host.

On every host stands one guard (`timeeval.engines.guard`); below the guards run the scheduler and the client on one host
and one worker for each slot everywhere. Dask only carries messages: where an attempt runs, whether it is tried again
and what becomes of a lost host is decided by the run's state machine, which hears of everything as events.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.dask_start import start_dask
from timeeval.engines.hosts import SETTLE_SECONDS, Back, Cut, Ended, Gone, GuardedHost, News, Said
from timeeval.engines.members import Member, Slot
from timeeval.errors import EngineError
from timeeval.plain import plain
from timeeval.run.model import HostLost, HostUp, Interrupted, Report, Reported

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel, Post
    from timeeval.engines.launching import Host, Launcher

RUN_JOB = "timeeval.evaluation:run_job"
REBUILDS = 3

logger = logging.getLogger(__name__)


class DaskEngine:
    """Runs attempts on hosts through Dask.

    Parameters
    ----------
    hosts : sequence of Host
        Where workers are to run; one guard and ``slots`` workers each. One with no slots may be the scheduler's.
    launcher : Launcher
        How programs get to the hosts.
    run_id : str
        Id of the run; mark of its processes and label of its containers.
    scheduler : str
        Name of the host of the scheduler; the next one takes its place when it is lost.
    settings : DaskSettings
        How Dask is started and held.
    results : Path, optional
        Folder on all hosts for what experiments write; None where all hosts are this machine.
    details : mapping, optional
        What every task is told besides its attempt (image ids, proof); JSON.
    min_workers : int
        So many hosts with workers must come up.
    task : str
        ``module:function`` that workers run.
    """

    name = "dask"

    def __init__(
        self,
        hosts: Sequence[Host],
        launcher: Launcher,
        run_id: str,
        *,
        scheduler: str | None = None,
        settings: DaskSettings | None = None,
        results: Path | None = None,
        details: Mapping[str, Any] | None = None,
        min_workers: int = 1,
        task: str = RUN_JOB,
    ) -> None:
        self._hosts = tuple(hosts)
        self._launcher = launcher
        self._run_id = run_id
        self._preferred = scheduler or self._hosts[0].name
        self._settings = settings or DaskSettings()
        self.threads: Mapping[str, str] = self._settings.threads
        self._results = results
        self._details = dict(details or {})
        self._min_workers = max(1, min_workers)
        self._task = task
        self._guards: dict[str, GuardedHost] = {}
        self._members: dict[str, Member] = {}
        self._running: dict[str, Member] = {}
        self._centre: GuardedHost | None = None
        self._rebuilds = 0
        self._rebuilding: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._post: Post = lambda _event: None
        self._stopped = False
        self.failures: dict[str, EngineError] = {}
        """What went wrong, by host that did not come up or was lost."""

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def start(self, post: Post) -> None:
        """Bring the hosts up; see `timeeval.engines.base.Engine.start`."""
        self._post = post
        for host in self._hosts:
            self._guards[host.name] = GuardedHost(host, self._run_id, self._settings, self._hear)
        try:
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        for host_name, reason in self.failures.items():
            logger.warning("The run goes on without %s: %s", host_name, reason)
        for member in self._members.values():
            post(HostUp(member.name, len(member.slots), member.guarded.host.speed))

    @property
    def slots(self) -> dict[str, int]:
        """Experiments at a time, by host."""
        return {host.name: host.slots for host in self._hosts}

    def versions_of(self, host: str) -> dict[str, str]:
        """Return what a host that came up said of its environment, by name."""
        return dict(self._guards[host].versions)

    def results_dir(self, results_path: Path) -> Path:
        """See `timeeval.engines.base.Engine.results_dir`."""
        return results_path if self._results is None else self._results

    async def submit(self, parcel: Parcel) -> None:
        """Send attempts to a slot of their host; they wait here while no worker of that host is free."""
        member = self._members.get(parcel.host)
        if member is None:
            for attempt in parcel.attempts:
                self._post(Interrupted(attempt.id, f"{attempt.host} is not part of the run any more"))
            return
        self._running.update(dict.fromkeys((attempt.id for attempt in parcel.attempts), member))
        member.waiting.append(parcel)
        await self._pump(member)

    async def cancel(self, attempt_id: str) -> None:
        """End an attempt with its worker; a new worker takes its place. Many can be ended at the same time."""
        member = self._running.pop(attempt_id, None)
        if member is not None:
            self._run(self._cancel(member, attempt_id))

    async def _cancel(self, member: Member, attempt_id: str) -> None:
        if not member.withdraw(attempt_id):
            await self._clean(member, attempt_id)
        self._post(Interrupted(attempt_id, "cancelled", cancelled=True))
        await self._pump(member)

    async def stop(self) -> None:
        """End everything on every host, within a bounded time."""
        if self._stopped:
            return
        self._stopped = True
        tasks = [*self._background, *([self._rebuilding] if self._rebuilding else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop_guard(guard) for guard in self._guards.values()))

    # --- bringing Dask up -----------------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        guards = list(self._guards.values())
        outcomes = await asyncio.gather(*(guard.start(self._launcher) for guard in guards), return_exceptions=True)
        for guard, outcome in zip(guards, outcomes, strict=True):
            if isinstance(outcome, EngineError):
                self.failures[guard.name] = outcome
                await self._stop_guard(guard)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif guard.host.slots:
                self._members[guard.name] = Member.of(guard)
        if len(self._members) >= self._min_workers:
            for name, cause in (await self._rise()).items():
                self.failures[name] = cause
                self._members.pop(name, None)
        if len(self._members) < self._min_workers:
            causes = "".join(f"\n  {cause}" for cause in self.failures.values())
            raise EngineError(
                f"{len(self._members)} of {len(self._hosts)} hosts came up, at least {self._min_workers} must:{causes}"
            )

    async def _rise(self) -> dict[str, EngineError]:
        """Start Dask on the guards that stand; returns why hosts stayed without workers."""
        # A host that only schedules is no member, and a lost one none any more.
        guards = [g for g in self._guards.values() if g.ready and (g.name in self._members or not g.host.slots)]
        self._centre, failures = await start_dask(guards, self._preferred, self._run_id, self._settings)
        for name in failures:
            if self._guards[name] is not self._centre:
                self._run(self._stop_guard(self._guards[name]))
        return failures

    def _start_rebuild(self, reason: str) -> None:
        if self._rebuilding is not None or self._stopped:
            return
        self._centre = None
        self._rebuilds += 1
        if self._rebuilds > REBUILDS:
            for member in list(self._members.values()):
                self._abandon(member, f"Dask ended for the {self._rebuilds}th time: {reason}")
            return
        self._rebuilding = asyncio.create_task(self._rebuild(reason))
        self._rebuilding.add_done_callback(self._rebuilt)

    async def _rebuild(self, reason: str) -> None:
        """Start Dask anew on the hosts that are left; what was running is due again without blame."""
        logger.warning("Dask is started anew: %s", reason)
        for member in self._members.values():
            for slot in member.slots.values():
                slot.address = None
                interrupted, slot.open = slot.open, {}
                for attempt_id in interrupted:
                    if self._running.pop(attempt_id, None) is not None:
                        self._post(Interrupted(attempt_id, reason, cancelled=True))

        async def clear(guard: GuardedHost) -> None:
            for child in ("client", "workers", "scheduler"):
                await guard.end(child)

        await asyncio.gather(*(clear(guard) for guard in self._guards.values() if not guard.gone))
        for name, cause in (await self._rise()).items():
            if name in self._members:
                self._lose(self._members[name], str(cause), fenced_after=SETTLE_SECONDS)

    def _rebuilt(self, task: asyncio.Task[None]) -> None:
        self._rebuilding = None
        if task.cancelled() or self._stopped:
            return
        error = task.exception()
        if error is not None and not isinstance(error, EngineError):
            logger.error("Dask could not be started anew", exc_info=error)
        for member in list(self._members.values()):
            if error is not None:
                self._abandon(member, f"Dask could not be started anew: {error}")
            else:
                self._run(self._pump(member))
        if self._centre is not None and self._centre.gone:
            self._start_rebuild(f"{self._centre.name}, where its scheduler was, is lost")

    # --- what the hosts say ---------------------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        if self._stopped:
            return
        member = self._members.get(news.host)
        if isinstance(news, Said):
            self._said(member, news)
            return
        if member is not None:
            self._heed(member, news)
        if isinstance(news, Cut | Back) or (isinstance(news, Ended) and news.child == "workers"):
            return
        if self._centre is self._guards[news.host]:
            self._start_rebuild(f"{news.host}, where its scheduler is: {news.reason}")

    def _heed(self, member: Member, news: Ended | Cut | Back | Gone) -> None:
        match news:
            case Cut():  # what it runs goes on, but nothing new is sent there
                self._post(HostLost(member.name, news.reason, news.fenced_after))
            case Back():
                self._post(HostUp(member.name, len(member.slots), member.guarded.host.speed))
            case Gone():
                self._lose(member, news.reason, fenced_after=news.fenced_after)
            case Ended(child="workers"):
                self._abandon(member, news.reason)

    def _said(self, member: Member | None, news: Said) -> None:
        message = news.message
        match message["event"]:
            case "slot" if member is not None:
                self._slot(member, message)
            case "report":
                self._report(message["attempt"], message["text"])
            case "interrupted":
                self._run(self._dask_failed(message["attempt"], message["reason"]))
            case "failed":
                logger.warning("%s: %s failed: %s", news.host, news.child, plain(str(message["error"])))

    def _slot(self, member: Member, message: Mapping[str, Any]) -> None:
        slot = member.slots[message["slot"]]
        slot.address, slot.pid = message["address"], message["pid"] or slot.pid
        if slot.address is None:
            self._later(self._settings.back_seconds, self._expect_back, member, slot)
        else:
            self._run(self._pump(member))
        if slot.open:  # its worker is another one now: Dask must say so, but is not waited for for ever
            reason, first = "its Dask worker ended", next(iter(slot.open))
            self._later(SETTLE_SECONDS, lambda: self._run(self._dask_failed(first, reason)))

    def _expect_back(self, member: Member, slot: Slot) -> None:
        if self._members.get(member.name) is member and slot.address is None and self._rebuilding is None:
            seconds = self._settings.back_seconds
            if not member.guarded.reached:  # it may be back, but cannot say so
                self._later(seconds, self._expect_back, member, slot)
                return
            self._abandon(member, f"the Dask worker {slot.name} ended and did not come back within {seconds:g} s")

    def _report(self, attempt_id: str, text: str) -> None:
        try:
            report = Report.from_json(text)
        except ValueError as error:
            self._run(self._dask_failed(attempt_id, f"what the worker sent is no report: {error}"))
            return
        if report.attempt != attempt_id:
            self._run(self._dask_failed(attempt_id, f"the worker reported another attempt, {report.attempt}"))
            return
        member = self._running.pop(attempt_id, None)
        self._post(Reported(report))
        if member is not None:
            slot = member.slot_of(attempt_id)
            if slot is not None:
                del slot.open[attempt_id]
            if slot is None or not slot.open:  # while a bundle goes on, nothing else can start there
                self._run(self._pump(member))

    async def _dask_failed(self, attempt_id: str, reason: str) -> None:
        """Clean up after an attempt that came back without a report, then say so of all that went with it."""
        member = self._running.get(attempt_id)
        slot = None if member is None else member.slot_of(attempt_id)
        if member is None or slot is None:
            return
        lost = [open_id for open_id in slot.open if self._running.pop(open_id, None) is not None]
        for open_id in lost:
            await self._clean(member, open_id)
            self._post(Interrupted(open_id, f"{member.name}: {reason}"))
        await self._pump(member)

    # --- slots and hosts ------------------------------------------------------------------------------------------

    async def _pump(self, member: Member) -> None:
        """Give waiting attempts to free slots."""
        centre = self._centre
        if centre is None or self._rebuilding is not None:
            return
        while (start := member.next_start()) is not None:
            slot, parcel = start
            common = {"run_id": self._run_id, "slot": slot.name, **self._details}
            if member.standing:
                common["standing"] = member.standing
            message = {
                "attempts": [attempt.id for attempt in parcel.attempts],
                "task": self._task,
                "jobs": [base64.b64encode(job).decode() for job in parcel.jobs],
                "details": [json.dumps({**attempt.fields(), **common}) for attempt in parcel.attempts],
                "worker": slot.address,
            }
            with contextlib.suppress(EngineError):  # then the guard is gone, and that is news of its own
                centre.tell("client", message)

    async def _clean(self, member: Member, attempt_id: str) -> None:
        """End the worker of an attempt with all it started, and free its slot when that is done."""
        slot = member.slot_of(attempt_id)
        if slot is None:
            return
        if slot.sent_to == slot.pid:
            slot.address = None
            self._later(self._settings.back_seconds, self._expect_back, member, slot)
        await member.guarded.cancel(attempt_id, slot.name, slot.sent_to)
        slot.open.pop(attempt_id, None)

    def _lose(self, member: Member, reason: str, *, fenced_after: float) -> None:
        if self._members.pop(member.name, None) is None:
            return
        self.failures[member.name] = EngineError(reason, host=member.name)
        for attempt_id in [key for key, value in self._running.items() if value is member]:
            del self._running[attempt_id]
        self._post(HostLost(member.name, reason, fenced_after))

    def _abandon(self, member: Member, reason: str) -> None:
        """Give up a host whose guard still stands: the guard ends what is there."""
        self._lose(member, reason, fenced_after=self._settings.grace + SETTLE_SECONDS)
        if member.guarded is not self._centre:
            self._run(self._stop_guard(member.guarded))

    async def _stop_guard(self, guard: GuardedHost) -> None:
        if left := await guard.stop():
            logger.warning("%s", left)

    def _later(self, seconds: float, act: Callable[..., None], *args: object) -> None:
        asyncio.get_running_loop().call_later(seconds, lambda: None if self._stopped else act(*args))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
