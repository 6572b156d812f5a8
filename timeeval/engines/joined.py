"""The engine for a Dask scheduler that somebody else runs: attempts are pinned to the threads of its workers.

Its scheduler and its workers are never ended, restarted or configured by us; what we end is the process of an
experiment below a worker. Only hosts that were observed before the run are used.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.engines.joined_link import Link, Scheduler, machine_of
from timeeval.errors import EngineError
from timeeval.run.model import HostLost, HostUp, Interrupted, Report, Reported
from timeeval.run.packing import parts_of
from timeeval.run.standing import digest_of

if TYPE_CHECKING:
    from timeeval.engines.base import Parcel, Post

RUN_JOB = "timeeval.evaluation:run_job"
WORKER = "timeeval.engines.joined_worker"
ANSWER_SECONDS = 60.0
END_SECONDS = 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JoinedHost:
    """A host that was observed.

    Attributes
    ----------
    name : str
        Its name in the run.
    machine : str
        What its workers say of it, so that it is known again (`machine_of`).
    standing : str
        What was seen of it (`timeeval.run.standing`).
    """

    name: str
    machine: str
    standing: str


@dataclass(slots=True)
class _Slot:
    worker: str
    open: set[str] = field(default_factory=set)  # attempts that were sent and not answered yet


@dataclass(slots=True)
class _Member:
    host: JoinedHost
    standing: str
    slots: list[_Slot] = field(default_factory=list)
    waiting: deque[Parcel] = field(default_factory=deque)


class JoinedEngine:
    """Runs attempts on the workers of a scheduler.

    Parameters
    ----------
    scheduler : Scheduler
        Where it listens.
    hosts : iterable of JoinedHost
        Those that may compute.
    run_id : str
        Id of the run; label of its containers.
    results : Path, optional
        Folder on all hosts for what experiments write; None where all of them see the driver's results folder.
    slots : int, optional
        At most so many attempts at a time per host; default: as many as its workers have threads.
    task : str
        ``module:function`` that workers run.
    """

    name = "joined"

    def __init__(
        self,
        scheduler: Scheduler,
        hosts: Iterable[JoinedHost],
        run_id: str,
        *,
        results: Path | None = None,
        slots: int | None = None,
        task: str = RUN_JOB,
    ) -> None:
        self.threads: Mapping[str, str] = {}  # workers that others started have chosen for themselves
        self._address = scheduler.address
        self._link = Link(scheduler, self._hear)
        self._members = {host.machine: _Member(host, digest_of(host.standing)) for host in hosts}
        self._run_id = run_id
        self._results = results
        self._limit = slots
        self._task = task
        self._told: set[str] = set()  # parts that the client has
        self._workers: dict[str, str] = {}  # machine of each worker that we know of, by its address
        self._background: set[asyncio.Task[None]] = set()
        self._post: Post = lambda _event: None
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        self._stopped = False

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def start(self, post: Post) -> None:
        """Connect, and take in the workers that are there."""
        self._post = post
        await self._link.start()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            await self.stop()
            raise EngineError(
                f"no worker of {self._address} could be used within {ANSWER_SECONDS:g} s",
                remedy="See whether its workers are busy with other work, and run it again",
            ) from None
        except BaseException:
            await self.stop()
            raise

    def results_dir(self, results_path: Path) -> Path:
        """See `timeeval.engines.base.Engine.results_dir`."""
        return results_path if self._results is None else self._results

    async def submit(self, parcel: Parcel) -> None:
        """Send a parcel to a free thread of its host, or let it wait for one."""
        member = self._member(parcel.host)
        if member is None or not member.slots:
            for attempt in parcel.attempts:
                self._post(Interrupted(attempt.id, f"{parcel.host} has no Dask worker any more"))
            return
        member.waiting.append(parcel)
        await self._pump(member)

    async def cancel(self, attempt_id: str) -> None:
        """End the process of an attempt below its worker; the worker goes on."""
        for member in self._members.values():
            for number, parcel in enumerate(member.waiting):
                if any(attempt.id == attempt_id for attempt in parcel.attempts):
                    member.waiting[number] = _without(parcel, attempt_id)
                    self._post(Interrupted(attempt_id, "cancelled", cancelled=True))
                    return
            for slot in member.slots:
                if attempt_id in slot.open:
                    with contextlib.suppress(EngineError):  # the scheduler is lost, and that is news of its own
                        await self._link.send(do="cancel", attempt=attempt_id, worker=slot.worker)
                    return

    async def stop(self) -> None:
        """End what we run below the workers, and let go of them."""
        if self._stopped:
            return
        self._stopped = True
        with contextlib.suppress(TimeoutError, EngineError):
            async with asyncio.timeout(END_SECONDS):
                await self._end_all()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._link.stop()

    async def _end_all(self) -> None:
        for member in self._members.values():
            member.waiting.clear()
            for slot in member.slots:
                for attempt_id in slot.open:
                    await self._link.send(do="cancel", attempt=attempt_id, worker=slot.worker)
        while any(slot.open for member in self._members.values() for slot in member.slots):
            self._changed.clear()
            await self._changed.wait()

    # --- what the client says -------------------------------------------------------------------------------------

    def _hear(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "workers":
                self._take_workers(message["workers"])
            case "report":
                self._report(message["attempt"], message["text"])
            case "interrupted":
                self._answered(message["attempt"])
                reason, cancelled = message["reason"], message.get("cancelled", False)
                self._post(Interrupted(message["attempt"], reason, cancelled=cancelled))
            case "lost":
                self._lose_all(message["reason"])

    def _report(self, attempt_id: str, text: str) -> None:
        self._answered(attempt_id)
        try:
            report = Report.from_json(text)
        except ValueError as error:
            self._post(Interrupted(attempt_id, f"what the worker sent is no report: {error}"))
            return
        if report.attempt != attempt_id:
            self._post(Interrupted(attempt_id, f"the worker reported another attempt, {report.attempt}"))
            return
        self._post(Reported(report))

    def _answered(self, attempt_id: str) -> None:
        for member in self._members.values():
            for slot in member.slots:
                if attempt_id in slot.open:
                    slot.open.discard(attempt_id)
                    self._run(self._pump(member))
        self._changed.set()

    # --- workers that come and go ---------------------------------------------------------------------------------

    def _take_workers(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        for address in self._workers.keys() - workers.keys():
            self._lose(address)
        for address in workers.keys() - self._workers.keys():
            machine = self._workers[address] = machine_of(workers[address])
            if machine in self._members:
                self._run(self._admit(address, self._members[machine], int(workers[address]["threads"])))
            else:
                logger.warning(
                    "The worker %s on %s is not used: %s",
                    address,
                    workers[address]["hostname"] or "an unknown host",
                    workers[address]["error"] or "its host was not there, or not the same, when the run was prepared",
                )

    async def _admit(self, address: str, member: _Member, threads: int) -> None:
        """Give a worker what its attempts are compared with, and offer its threads."""
        folder = None if self._results is None else str(self._results)
        job = {"standing": member.host.standing, "folder": folder}
        try:
            await self._link.ask(address, f"{WORKER}:settle", job, ANSWER_SECONDS)
            await self._link.send(do="keep", run=self._run_id, worker=address)
        except EngineError as error:
            logger.warning("The worker %s on %s is not used: %s", address, member.host.name, error)
            return
        if address not in self._workers:
            return
        room = threads if self._limit is None else min(threads, self._limit - len(member.slots))
        member.slots += [_Slot(address) for _ in range(room)]
        if member.slots:
            self._post(HostUp(member.host.name, len(member.slots)))
            self._ready.set()
            await self._pump(member)

    def _lose(self, address: str) -> None:
        machine = self._workers.pop(address)
        member = self._members.get(machine)
        if member is None or all(slot.worker != address for slot in member.slots):
            return
        left = [attempt for slot in member.slots if slot.worker == address for attempt in slot.open]
        member.slots = [slot for slot in member.slots if slot.worker != address]
        for attempt_id in left:
            self._post(Interrupted(attempt_id, f"{member.host.name}: its Dask worker {address} is gone"))
        if member.slots:
            self._post(HostUp(member.host.name, len(member.slots)))
            self._run(self._clean(member, left))
        else:
            self._lose_host(member, f"its last Dask worker {address} is gone")

    def _lose_host(self, member: _Member, reason: str) -> None:
        waiting, member.waiting = member.waiting, deque()
        for parcel in waiting:
            for attempt in parcel.attempts:
                self._post(Interrupted(attempt.id, f"{member.host.name}: {reason}"))
        self._post(HostLost(member.host.name, reason))

    def _lose_all(self, reason: str) -> None:
        if self._stopped:
            return
        for address in list(self._workers):
            del self._workers[address]
        for member in self._members.values():
            if member.slots:
                left = [attempt for slot in member.slots for attempt in slot.open]
                member.slots = []
                for attempt_id in left:
                    self._post(Interrupted(attempt_id, f"the Dask scheduler {self._address} was lost"))
                self._lose_host(member, f"the Dask scheduler {self._address} was lost: {reason}")
        self._changed.set()

    async def _clean(self, member: _Member, attempts: Iterable[str]) -> None:
        """Remove what a lost worker's attempts left in the container engine, by another worker of its host."""
        for attempt_id in attempts:
            try:
                said = await self._link.ask(member.slots[0].worker, f"{WORKER}:clean", attempt_id, ANSWER_SECONDS)
            except (EngineError, IndexError) as error:
                said = json.dumps(f"its container may still run: {error}")
            if problem := json.loads(said):
                logger.warning("%s: attempt %s: %s", member.host.name, attempt_id, problem)

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _pump(self, member: _Member) -> None:
        """Give waiting parcels to free threads."""
        while member.waiting and (slot := next((slot for slot in member.slots if not slot.open), None)) is not None:
            parcel = member.waiting.popleft()
            if not parcel.attempts:
                continue
            slot.open = {attempt.id for attempt in parcel.attempts}
            common = {"run_id": self._run_id, "standing": member.standing}
            with contextlib.suppress(EngineError):  # the scheduler is lost, and that is news of its own
                await self._link.send(
                    do="carry",
                    run=self._run_id,
                    parts=await self._tell_parts(parcel),
                    attempts=[attempt.id for attempt in parcel.attempts],
                    task=self._task,
                    jobs=[base64.b64encode(job).decode() for job in parcel.jobs],
                    details=[json.dumps({**attempt.fields(), **common}) for attempt in parcel.attempts],
                    worker=slot.worker,
                )

    async def _tell_parts(self, parcel: Parcel) -> list[str]:
        """Give the client what the jobs of a parcel have in common with others, once; returns the names of all that."""
        names = sorted({name for job in parcel.jobs for name in parts_of(job)}) if parcel.parts else []
        for name in names:
            if name not in self._told:
                self._told.add(name)
                await self._link.send(do="part", part=name, data=base64.b64encode(parcel.parts[name]).decode())
        return names

    def _member(self, name: str) -> _Member | None:
        return next((member for member in self._members.values() if member.host.name == name), None)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _without(parcel: Parcel, attempt_id: str) -> Parcel:
    kept = [(a, job) for a, job in zip(parcel.attempts, parcel.jobs, strict=True) if a.id != attempt_id]
    return replace(parcel, attempts=tuple(a for a, _ in kept), jobs=tuple(job for _, job in kept))
