"""The way back of files from workers of a scheduler that somebody else runs: through Dask, in bounded pieces of bytes.

It has a line of its own to the scheduler, because files are brought when the engine has ended as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from timeeval.engines.joined_link import Link, Scheduler, machine_of
from timeeval.errors import EngineError
from timeeval.run import layout
from timeeval.run.collecting import Brought

if TYPE_CHECKING:
    from timeeval.run.collected import Collect

WORKER = "timeeval.engines.joined_worker"
ANSWER_SECONDS = 120.0
FILE_SECONDS = 3600.0
CLOSE_SECONDS = 20.0
LARGEST = 16 << 30

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class JoinedDepot:
    """The folder of one run on hosts that do not see the driver's results folder.

    Parameters
    ----------
    scheduler : Scheduler
        Where it listens.
    machines : mapping of str to str
        What workers say of each host, by its name in the run.
    remote : Path
        Results folder on the hosts.
    local : Path
        Results folder on the driver.
    """

    parallel = 2

    def __init__(self, scheduler: Scheduler, machines: Mapping[str, str], remote: Path, local: Path) -> None:
        self._scheduler = scheduler
        self._machines = dict(machines)
        self._remote = remote
        self._local = local
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._workers: dict[str, str] = {}  # machine of each worker, by its address
        self._news = asyncio.Event()
        self._closed = False
        self._brought: dict[str, set[str]] = {}

    # --- the protocol of `timeeval.run.collecting.Depot` --------------------------------------------------------------

    def fetch(
        self, host: str, attempts: Mapping[str, Collection[str]], level: Collect, recorded: Sequence[str]
    ) -> Brought:
        """See `timeeval.run.collecting.Depot.fetch`."""
        drop = [layout.outcome_path(attempt) for attempt in recorded]
        return self._do(host, self._fetch(host, attempts, level, drop))

    def outcomes(self, host: str, attempts: Sequence[str]) -> None:
        """See `timeeval.run.collecting.Depot.outcomes`."""
        self._do(host, self._outcomes(host, attempts))

    def logs(self) -> None:
        """Do nothing: the logs of others' workers are theirs."""

    def close(self) -> None:
        """Let the hosts forget what was brought, and end the line."""
        with self._lock:
            self._closed = True
            loop, thread, self._thread = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError, EngineError):
            asyncio.run_coroutine_threadsafe(self._close(), loop).result(CLOSE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_SECONDS)

    # --- in the thread of the line ------------------------------------------------------------------------------------

    async def _fetch(
        self, host: str, attempts: Mapping[str, Collection[str]], level: Collect, drop: Sequence[str]
    ) -> Brought:
        link, worker = await self._way(host)
        failed: dict[str, str] = {}
        refused: dict[str, str] = {}
        files = size = 0
        for attempt, have in attempts.items():
            base = layout.attempt_path(attempt)
            listed = json.loads(await self._ask(worker, "files", [str(self._remote), base]))
            if listed is None:
                failed[attempt] = f"{host}: {self._remote / base} is not there"
                continue
            wanted = [row for row in listed if row[0] not in have and _travels(row[0], level)]
            if too_large := [row[0] for row in wanted if row[1] > LARGEST]:
                refused[attempt] = f"{too_large[0]} has more than {LARGEST} bytes"
            try:
                for path, length, digest in (row for row in wanted if row[0] not in too_large):
                    await self._file(link, worker, host, f"{base}/{path}", (length, digest))
                    files, size = files + 1, size + length
            except EngineError as error:
                failed[attempt] = f"{host}: {error}"
            else:
                if level.patterns is None:
                    self._brought.setdefault(host, set()).add(base)
        if drop:
            await self._ask(worker, "drop", [str(self._remote), list(drop)])
        return Brought(files, size, failed, refused)

    async def _outcomes(self, host: str, attempts: Sequence[str]) -> None:
        link, worker = await self._way(host)
        folder, *_ = layout.outcome_path("x").rpartition("/")
        listed = {name: (size, digest) for name, size, digest in await self._listing(worker, folder)}
        for attempt in attempts:
            path = layout.outcome_path(attempt)
            known = listed.get(path.rpartition("/")[2])
            if known is not None and known[0] <= 1 << 26:
                await self._file(link, worker, host, path, known)

    async def _listing(self, worker: str, folder: str) -> list[Any]:
        return json.loads(await self._ask(worker, "files", [str(self._remote), folder])) or []

    async def _file(self, link: Link, worker: str, host: str, path: str, known: tuple[int, str]) -> None:
        here = {"target": str(self._local / path), "stage": str(layout.stage_dir(self._local, host))}
        there = {"root": str(self._remote), "path": path, "size": known[0], "digest": known[1]}
        await link.fetch(worker, there, here, FILE_SECONDS)

    async def _ask(self, worker: str, function: str, job: object) -> str:
        assert self._link is not None  # noqa: S101 - `_way` was taken before
        return await self._link.ask(worker, f"{WORKER}:{function}", job, ANSWER_SECONDS)

    async def _way(self, host: str) -> tuple[Link, str]:
        """Return the line and a worker of a host; raises `EngineError` when it has none."""
        if self._link is None:
            link = Link(self._scheduler, self._hear)
            await link.start()
            self._link = link
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), ANSWER_SECONDS)
        machine = self._machines.get(host)
        worker = next((address for address, known in self._workers.items() if known == machine), None)
        if worker is None:
            raise EngineError("it has no Dask worker any more", host=host)
        return self._link, worker

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "workers":
            self._workers = {address: machine_of(greeting) for address, greeting in message["workers"].items()}
        elif message["event"] == "lost":
            self._workers, self._link = {}, None
        self._news.set()

    async def _close(self) -> None:
        if self._link is None:
            return
        for host, folders in self._brought.items():
            with contextlib.suppress(EngineError):  # the host is gone, and its files with it
                _, worker = await self._way(host)
                await self._ask(worker, "remove", [str(self._remote), sorted(folders)])
        await self._link.stop()

    # --- from any thread ----------------------------------------------------------------------------------------------

    def _do(self, host: str, work: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._closed:
                work.close()
                raise EngineError("collecting was stopped", host=host)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="timeeval-joined", daemon=True)
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _travels(path: str, level: Collect) -> bool:
    return level.patterns is None or path in level.patterns
