"""The Dask engine: hosts under guards, one Dask over them, attempts pinned to the slots of their host.

On every host stands one guard (`timeeval.engines.guard`); below the guards run the scheduler and the client on one host
and one worker for each slot everywhere. Dask only carries messages: where an attempt runs, whether it is tried again
and what becomes of a lost host is decided by the run's state machine, which hears of everything as events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.engines.chores import Chores
from timeeval.engines.dask_settings import DaskSettings, room_for_more
from timeeval.engines.dask_start import Dask, Names, start_dask
from timeeval.engines.dispatch import Dispatch
from timeeval.engines.hosts import SETTLE_SECONDS, Back, Cut, Ended, Gone, GuardedHost, News, Said
from timeeval.engines.members import Member
from timeeval.errors import EngineError
from timeeval.plain import plain
from timeeval.run.model import Event, HostLost, HostUp, Interrupted

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
        self._min_workers = max(1, min_workers)
        self._guards: dict[str, GuardedHost] = {}
        self._members: dict[str, Member] = {}
        self._dask: Dask | None = None
        self._absent: dict[str, dict[str, Any]] = {}  # of hosts that were not reached, how their workers are started
        self._made = self._rebuilds = 0
        self._rebuilding = False
        self._post: Post = lambda _event: None
        self._chores = Chores()
        told = {"run_id": run_id, **(details or {})}
        self._dispatch = Dispatch(task, told, self._settings, self._chores, post=self._tell, give_up=self._abandon)
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

    def _tell(self, event: Event) -> None:
        self._post(event)

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
        if member is not None:
            self._dispatch.submit(member, parcel)
            return
        for attempt in parcel.attempts:
            self._post(Interrupted(attempt.id, f"{attempt.host} is not part of the run any more"))

    async def cancel(self, attempt_id: str) -> None:
        """End an attempt with its worker; a new worker takes its place. Many can be ended at the same time."""
        self._dispatch.cancel(attempt_id)

    async def stop(self) -> None:
        """End everything on every host, within a bounded time."""
        if self._chores.stopped:
            return
        await self._chores.stop()
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
        """Start Dask on the guards that are reached; returns why hosts stayed without workers."""
        self._made += 1
        # A host that only schedules is no member, and a lost one none any more.
        guards = [g for g in self._guards.values() if g.ready and (g.name in self._members or not g.host.slots)]
        here = [guard for guard in guards if guard.reached]
        names = Names.of(self._made)
        before = {guard.name: self._move(guard.name, names) for guard in here}
        self._dask = dask = await start_dask(here, self._preferred, self._run_id, self._settings, names)
        absent = [guard for guard in guards if guard not in here and guard.host.slots]
        self._absent = {guard.name: dask.worker_spec(guard) for guard in absent}
        for guard in here:
            if guard.name not in dask.failures:
                self._dispatch.retire(self._members.get(guard.name), before[guard.name])
            elif guard is not dask.centre:
                self._chores.run(self._stop_guard(guard))
        self._dispatch.client = lambda message: dask.centre.tell(names.client, message)
        return dask.failures

    def _move(self, host: str, names: Names) -> str:
        """From now on, listen to a host's other workers; returns the name of those before them."""
        member = self._members.get(host)
        if member is None:
            return ""
        for slot in member.slots.values():
            slot.address = None
        before, member.child = member.child, names.workers
        return before

    def _start_rebuild(self, reason: str, *, counts: bool = True) -> None:
        if self._rebuilding or self._chores.stopped:
            return
        self._rebuilds += counts
        if self._rebuilds > REBUILDS:
            for member in list(self._members.values()):
                self._abandon(member, f"Dask ended for the {self._rebuilds}th time: {reason}")
            return
        self._rebuilding = True
        self._chores.run(self._rebuild(reason))

    async def _rebuild(self, reason: str) -> None:
        """Start Dask anew on the hosts that are left; what runs there goes on, and is reported as if nothing was."""
        logger.warning("Dask is started anew: %s", reason)
        earlier, self._dask, self._dispatch.client = self._dask, None, None
        try:
            if earlier is not None:
                await self._let_go(earlier)
            for name, cause in (await self._rise()).items():
                if name in self._members:
                    self._lose(self._members[name], str(cause), fenced_after=SETTLE_SECONDS)
        except EngineError as error:
            for member in list(self._members.values()):
                self._abandon(member, f"Dask could not be started anew: {error}")
        finally:
            self._rebuilding = False
        self._look_around()

    def _look_around(self) -> None:
        """See what happened while Dask was started anew."""
        for member in list(self._members.values()):
            if member.name in self._absent and member.guarded.reached:
                self._chores.run(self._rejoin(member))
            else:
                self._dispatch.pump(member)
        centre = None if self._dask is None else self._dask.centre
        if centre is not None and centre.gone:
            self._start_rebuild(f"{centre.name}, where its scheduler was, is lost")
        elif centre is not None and not centre.reached:
            self._chores.later(self._settings.takeover_seconds, self._take_over, self._dask, "connection lost")

    async def _let_go(self, earlier: Dask) -> None:
        """End what is left of an earlier Dask, but for workers that still compute."""
        for child in (earlier.names.client, earlier.names.scheduler):
            ending = earlier.centre.end(child)  # waits for a host that is not reached until it is
            if earlier.centre.reached:
                await ending
            else:
                self._chores.run(ending)
        for member in self._members.values():
            if member.guarded.reached and not room_for_more(self._settings, len(member.slots)):
                await member.guarded.end(member.child)
                self._dispatch.interrupt(member, member.child, "its ports are needed for another Dask worker")

    # --- what the hosts say ---------------------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        if self._chores.stopped:
            return
        member = self._members.get(news.host)
        if isinstance(news, Said):
            self._said(news, member)
        elif isinstance(news, Ended):
            self._ended(news, member)
        elif member is not None:
            self._heed(member, news)
        if self._is_centre(news.host):
            if isinstance(news, Cut):
                self._chores.later(self._settings.takeover_seconds, self._take_over, self._dask, news.reason)
            elif isinstance(news, Gone):
                self._start_rebuild(f"{news.host}, where its scheduler is: {news.reason}")

    def _heed(self, member: Member, news: Cut | Back | Gone) -> None:
        match news:
            case Cut():  # what it runs goes on, but nothing new is sent there
                self._post(HostLost(member.name, news.reason, news.fenced_after))
            case Back():
                self._chores.run(self._rejoin(member))
            case Gone():
                self._lose(member, news.reason, fenced_after=news.fenced_after)

    def _said(self, news: Said, member: Member | None) -> None:
        child, message = news.child, news.message
        match message["event"]:
            case "slot" if member is not None:
                self._dispatch.slot(member, child, message)
            case "report":
                self._dispatch.report(news.host, message["attempt"], message["text"])
            case "want" if member is not None:
                self._dispatch.bring(member, child, message["part"])
            case "retired" if member is not None:
                self._dispatch.retired(member, child, message["begun"])
            case "refused":
                self._dispatch.refused(message["key"])
            case "done":
                self._dispatch.done(message["attempt"])
            case "interrupted" if child in self._offices:
                self._dispatch.failed(message["attempt"], message["reason"])
            case "failed":
                logger.warning("%s: %s failed: %s", news.host, child, plain(str(message["error"])))

    def _ended(self, news: Ended, member: Member | None) -> None:
        if self._is_centre(news.host) and news.child in self._offices:
            self._start_rebuild(f"{news.host}, where its scheduler is: {news.reason}")
        elif member is not None and news.child == member.child:
            self._abandon(member, news.reason)
        elif member is not None:
            self._dispatch.interrupt(member, news.child, news.reason)

    @property
    def _offices(self) -> tuple[str, ...]:
        """Children of the centre without which there is no Dask."""
        return () if self._dask is None else (self._dask.names.client, self._dask.names.scheduler)

    def _is_centre(self, host: str) -> bool:
        return self._dask is not None and self._dask.centre is self._guards[host]

    # --- a centre that is not reached -----------------------------------------------------------------------------

    def _take_over(self, dask: Dask, reason: str) -> None:
        """Let another host be the scheduler's, unless it is the driver that is cut off."""
        if self._dask is not dask or dask.centre.reached or dask.centre.gone:
            return
        if any(member.guarded.reached for member in self._members.values()):
            words = f"{dask.centre.name}, where its scheduler is, is not reached: {reason}"
            self._start_rebuild(words, counts=False)
        else:  # when the driver is back, its hosts are back one by one
            self._chores.later(self._settings.takeover_seconds, self._take_over, dask, reason)

    async def _rejoin(self, member: Member) -> None:
        """Use a host again; one that missed a new Dask gets workers for it."""
        if self._rebuilding:
            return  # it is looked at when that is done
        spec = self._absent.pop(member.name, None)
        if spec is not None and self._dask is not None:
            names = self._dask.names
            before = self._move(member.name, names)
            try:
                await member.guarded.spawn(names.workers, spec)
            except EngineError as error:
                self._abandon(member, str(error))
                return
            self._dispatch.retire(member, before)
        self._post(HostUp(member.name, len(member.slots), member.guarded.host.speed))

    # --- hosts ----------------------------------------------------------------------------------------------------

    def _lose(self, member: Member, reason: str, *, fenced_after: float) -> None:
        if self._members.pop(member.name, None) is None:
            return
        self.failures[member.name] = EngineError(reason, host=member.name)
        self._dispatch.forget(member)
        self._post(HostLost(member.name, reason, fenced_after))

    def _abandon(self, member: Member, reason: str) -> None:
        """Give up a host whose guard still stands: the guard ends what is there."""
        if self._members.get(member.name) is not member:
            return
        self._lose(member, reason, fenced_after=self._settings.grace + SETTLE_SECONDS)
        if not self._is_centre(member.name):
            self._chores.run(self._stop_guard(member.guarded))

    async def _stop_guard(self, guard: GuardedHost) -> None:
        if left := await guard.stop():
            logger.warning("%s", left)
