"""The engine that computes on this machine, each experiment in a kept process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.errors import EngineError
from timeeval.evaluation import SlotPool, run_job
from timeeval.run.model import Attempt, HostUp, Interrupted, Outcome, Report, Reported
from timeeval.run.nursery import THREAD_VARIABLES
from timeeval.run.standing import hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from timeeval.engines.base import Parcel, Post


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class LocalEngine:
    """Computes attempts in processes of this machine.

    Parameters
    ----------
    slots : int
        Attempts at a time; -1: one per usable core.
    standing : str
        What was seen of this machine, for each attempt to be compared with; empty where nothing was.

    Attributes
    ----------
    threads : dict of str to str
        Variables by which experiments choose their number of threads.
    """

    name = "local"

    def __init__(self, slots: int = -1, standing: str = "") -> None:
        self._proven = {"standing": hold(standing)} if standing else {}
        self.slots = usable_cores() if slots == -1 else slots
        self.host = socket.gethostname()
        self._post: Post | None = None
        threads = max(1, usable_cores() // self.slots)
        self._pool = SlotPool(threads)
        self.threads: Mapping[str, str] = {name: os.environ.get(name, str(threads)) for name in THREAD_VARIABLES}
        # one thread more per slot: a new attempt waits for nothing while the former one's process is being ended
        self._threads = ThreadPoolExecutor(2 * self.slots, thread_name_prefix="timeeval-slot")
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: set[str] = set()

    async def start(self, post: Post) -> None:
        """Offer the slots of this machine."""
        self._post = post
        post(HostUp(self.host, self.slots))

    def results_dir(self, results_path: Path) -> Path:
        """Return the results folder itself."""
        return results_path

    async def submit(self, parcel: Parcel) -> None:
        """Run the jobs in a thread that keeps a process."""
        if self._post is None:
            raise EngineError("the local engine was not started")
        task = asyncio.create_task(self._carry(parcel, self._post))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, parcel: Parcel, post: Post) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._run, parcel, loop, post)
        except RuntimeError as error:  # the threads are shut down
            self._interrupt(parcel.attempts, error, post)

    def _run(self, parcel: Parcel, loop: asyncio.AbstractEventLoop, post: Post) -> None:
        """Run one job after the other; each report is posted the moment it is there."""
        for attempt, job in zip(parcel.attempts, parcel.whole_jobs, strict=True):
            if attempt.id in self._cancelled:
                now = time.time()
                report = Report(attempt.id, Outcome.CANCELLED, self.host, now, now, error="cancelled")
            else:
                try:
                    report = Report.from_json(self._report_of(job, attempt))
                except ValueError as error:  # a report nobody can read
                    loop.call_soon_threadsafe(self._interrupt, [attempt], error, post)
                    continue
            loop.call_soon_threadsafe(post, Reported(report))

    def _report_of(self, job: bytes, attempt: Attempt) -> str:
        # A power cut that loses an outcome here loses the driver too, which then has not recorded it: it runs again.
        return run_job(job, {"id": attempt.id, "host": attempt.host, **self._proven}, self._pool, durable=False)

    def _interrupt(self, attempts: Iterable[Attempt], error: Exception, post: Post) -> None:
        for attempt in attempts:
            post(Interrupted(attempt.id, f"{self.host}: {error}"))

    async def cancel(self, attempt_id: str) -> None:
        """Kill the attempt's process; its report says that it was cancelled."""
        self._cancelled.add(attempt_id)
        self._pool.cancel(attempt_id)

    async def stop(self) -> None:
        """End all processes."""
        await asyncio.to_thread(self._pool.close)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10)
        self._threads.shutdown(wait=False, cancel_futures=True)
