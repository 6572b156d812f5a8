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

from timeeval.engines.chores import Chores, told
from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.dask_start import Dask, Names, start_dask
from timeeval.engines.dispatch import Dispatch
from timeeval.engines.hosts import SETTLE_SECONDS, Back, Cut, Ended, Gone, GuardedHost, News, Said
from timeeval.engines.members import Member
from timeeval.errors import EngineError
from timeeval.run.model import Event, HostLost, HostUp, Interrupted

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel, Post
    from timeeval.engines.launching import Host, Launcher

RUN_JOB = "timeeval.evaluation:run_job"
REBUILDS = 3
POLL_SECONDS = 0.5

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
        self._away: set[str] = set()  # hosts that the run was told not to use for now
        self._fallen: set[tuple[str, str]] = set()  # children that ended while Dask was being started
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
        self._look_around()

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
                if not self._is_centre(name):
                    await self._stop_guard(self._guards[name])
        if len(self._members) < self._min_workers:
            causes = "".join(f"\n  {cause}" for cause in self.failures.values())
            raise EngineError(
                f"{len(self._members)} of {len(self._hosts)} hosts came up, at least {self._min_workers} must:{causes}"
            )

    async def _rise(self) -> dict[str, EngineError]:
        """Start Dask on the guards that are reached; returns why some of them stayed without workers."""
        self._made += 1
        names = Names.of(self._made)
        # A host that only schedules is no member, and a lost one none any more.
        guards = [g for g in self._guards.values() if g.ready and (g.name in self._members or not g.host.slots)]
        here = [guard for guard in guards if guard.reached]
        for member in (self._members[guard.name] for guard in guards if guard.host.slots):
            self._dispatch.retire(member, member.move(names.workers))
        try:
            self._dask = dask = await start_dask(here, self._preferred, self._run_id, self._settings, names)
        except EngineError:
            for guard in here:
                self._end_later(guard, names.client, names.scheduler)
            raise
        self._absent = {g.name: dask.worker_spec(g) for g in guards if g not in here and g.host.slots}
        self._dispatch.client = dask.way()
        return dask.failures

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
        problem = ""
        try:
            if earlier is not None:
                await self._let_go(earlier)
            while self._members and not any(guard.ready and guard.reached for guard in self._guards.values()):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)  # until one is reached, or all leases are over
            if self._members:
                causes = await self._rise()
                for name, cause in causes.items():
                    self._go_on_without(self._guards[name], cause)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for a Dask that is not started
            problem = f"Dask could not be started anew: {told(error)}"
        finally:
            self._rebuilding = False
        if problem:
            self._start_rebuild(problem)  # another host may have more luck
        else:
            self._look_around()

    def _go_on_without(self, guard: GuardedHost, cause: EngineError) -> None:
        """Lose a host where Dask could not be started, unless it is cut off and may come back."""
        member, dask = self._members.get(guard.name), self._dask
        if member is None or dask is None:
            if not self._is_centre(guard.name):
                self._chores.run(self._stop_guard(guard))
        elif guard.ready and not guard.reached:
            self._absent[guard.name] = dask.worker_spec(guard)
            self._end_later(guard, member.child, *(() if guard is dask.centre else (dask.names.scheduler,)))
        else:
            self._abandon(member, str(cause))

    def _look_around(self) -> None:
        """See what happened while Dask was started anew, or while its scheduler's host was not reached."""
        if (dask := self._dask) is None:
            return
        self._dispatch.client = dask.way()
        fallen = [child for child in self._offices if (dask.centre.name, child) in self._fallen]
        if not dask.centre.ready:
            self._start_rebuild(f"{dask.centre.name}, where its scheduler was, is lost", counts=False)
        elif fallen:
            self._start_rebuild(f"{dask.centre.name}, where its scheduler is: {fallen[0]} ended")
        elif not dask.centre.reached:
            self._watch_centre("connection lost")
        for member in list(self._members.values()):
            if member.guarded.reached and (member.name in self._absent or member.name in self._away):
                self._rejoin_later(member)
            if not self._rebuilding:
                self._dispatch.pump(member)

    async def _let_go(self, earlier: Dask) -> None:
        """End what is left of an earlier Dask, but for workers that still compute."""
        for child in (earlier.names.client, earlier.names.scheduler):
            if earlier.centre.reached:
                await earlier.centre.end(child)
            else:  # that waits for the host until it is reached
                self._end_later(earlier.centre, child)
        for member in list(self._members.values()):
            if member.guarded.reached:
                await self._dispatch.make_room(member)

    def _end_later(self, guard: GuardedHost, *names: str) -> None:
        for child in names:
            self._chores.run(guard.end(child))

    # --- what the hosts say ---------------------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        if self._chores.stopped:
            return
        member = self._members.get(news.host)
        if isinstance(news, Said):
            self._dispatch.said(news, member, self._offices)
        elif isinstance(news, Ended):
            self._ended(news, member)
        elif member is not None:
            self._heed(member, news)
        if self._is_centre(news.host):
            if isinstance(news, Cut):
                self._watch_centre(news.reason)
            elif isinstance(news, Back):
                self._look_around()
            elif isinstance(news, Gone):
                self._start_rebuild(f"{news.host}, where its scheduler is: {news.reason}", counts=False)

    def _heed(self, member: Member, news: Cut | Back | Gone) -> None:
        match news:
            case Cut():  # what it runs goes on, but nothing new is sent there
                self._away.add(member.name)
                self._post(HostLost(member.name, news.reason, news.fenced_after))
            case Back():
                self._rejoin_later(member)
            case Gone():
                self._lose(member, news.reason, fenced_after=news.fenced_after)

    def _ended(self, news: Ended, member: Member | None) -> None:
        if self._is_centre(news.host) and news.child in self._offices:
            self._start_rebuild(f"{news.host}, where its scheduler is: {news.reason}")
        elif member is not None and news.child == member.child:
            self._abandon(member, news.reason)
        else:
            self._fallen.add((news.host, news.child))
            if member is not None:
                self._dispatch.interrupt(member, news.child, news.reason)

    @property
    def _offices(self) -> tuple[str, ...]:
        """Children of the centre without which there is no Dask."""
        return () if self._dask is None else (self._dask.names.client, self._dask.names.scheduler)

    def _is_centre(self, host: str) -> bool:
        return self._dask is not None and self._dask.centre is self._guards[host]

    def _watch_centre(self, reason: str) -> None:
        self._dispatch.client = None  # what comes now waits, for this host or for the next one that has its office
        if (dask := self._dask) is not None:
            self._chores.later(self._settings.takeover_seconds, self._take_over, dask, dask.centre.cuts, reason)

    def _take_over(self, dask: Dask, cuts: int, reason: str) -> None:
        """Let another host be the scheduler's, unless it is the driver that is cut off."""
        if self._dask is not dask or dask.centre.reached or not dask.centre.ready or dask.centre.cuts != cuts:
            return
        if any(member.guarded.reached for member in self._members.values()):
            words = f"{dask.centre.name}, where its scheduler is, is not reached: {reason}"
            self._start_rebuild(words, counts=False)
        else:  # when the driver is back, its hosts are back one by one
            self._watch_centre(reason)

    def _rejoin_later(self, member: Member) -> None:
        self._chores.run(self._rejoin(member), lambda words: self._abandon(member, words))

    async def _rejoin(self, member: Member) -> None:
        """Use a host again; one that missed a new Dask gets workers for it."""
        dask = self._dask
        if self._rebuilding or dask is None:
            return  # it is looked at when that is done
        if member.name in self._absent:
            if not dask.centre.reached:
                return  # that is awaited, or another Dask is started
            if not await self._join(member, dask, self._absent.pop(member.name)):
                return
        guard = member.guarded
        if member.name in self._away and guard.ready and guard.reached:  # else it was told, or is cut off again
            self._away.discard(member.name)
            self._post(HostUp(member.name, len(member.slots), guard.host.speed))

    async def _join(self, member: Member, dask: Dask, spec: dict[str, Any]) -> bool:
        """Start workers of a host for a Dask that goes on; returns whether they, and it, are up."""
        await self._dispatch.make_room(member)
        if self._dask is not dask:
            return False
        self._made += 1  # for a name that nothing on this host has had
        child = Names.of(self._made).workers
        member.move(child)
        try:
            await member.guarded.spawn(child, {**spec, "child": child})
        except EngineError as error:
            if self._dask is dask and member.child == child:
                if member.guarded.reached and dask.centre.reached:
                    self._abandon(member, str(error))
                else:
                    self._absent[member.name] = spec
                    self._end_later(member.guarded, child)
            return False
        return self._dask is dask

    # --- hosts ----------------------------------------------------------------------------------------------------

    def _lose(self, member: Member, reason: str, *, fenced_after: float) -> None:
        if self._members.pop(member.name, None) is None:
            return
        logger.warning("%s is lost: %s", member.name, reason)
        self.failures[member.name] = EngineError(reason, host=member.name)
        self._dispatch.forget(member)
        self._post(HostLost(member.name, reason, fenced_after))

    def _abandon(self, member: Member, reason: str) -> None:
        """Give up a host whose guard still stands: the guard ends what is there."""
        if self._members.get(member.name) is not member:
            return
        guard, soon = member.guarded, self._settings.grace + SETTLE_SECONDS
        self._lose(member, reason, fenced_after=soon if guard.reached else guard.fence())
        if self._is_centre(member.name):
            self._end_later(guard, member.child, *{slot.sent_in for slot in member.slots.values() if slot.open})
        else:
            self._chores.run(self._stop_guard(guard))

    async def _stop_guard(self, guard: GuardedHost) -> None:
        if left := await guard.stop():
            logger.warning("%s", left)
