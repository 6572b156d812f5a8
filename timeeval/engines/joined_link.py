"""The driver's line to a Dask scheduler that somebody else runs: one client process on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.launching import Host, LocalLauncher, Process
from timeeval.errors import EngineError

START_SECONDS = 30.0
CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Where a scheduler listens, and what proves that it is the right one.

    Attributes
    ----------
    address : str
        ``tls://HOST:PORT``, or ``tcp://`` on the loopback.
    ca, cert, key : Path, optional
        PEM files of the authority and of this client; needed for TLS.
    """

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Refuse an address over which anybody could hand in work or read results; raises `EngineError`."""
        parts = urlsplit(self.address)
        if parts.scheme not in {"tls", "tcp"} or not parts.hostname or not _port(self.address):
            raise EngineError(f"{self.address} is no address of a Dask scheduler", remedy="Write it as tls://HOST:PORT")
        files = {"--tls-ca": self.ca, "--tls-cert": self.cert, "--tls-key": self.key}
        if parts.scheme == "tls":
            missing = [option for option, file in files.items() if file is None or not os.access(file, os.R_OK)]
            if missing:
                raise EngineError(
                    f"{self.address} is reached by TLS, and no readable file is named by {', '.join(missing)}",
                    remedy="Name the PEM files that the scheduler's owner gave you",
                )
        elif not _loopback(parts.hostname):
            raise EngineError(
                f"{self.address} is not encrypted: anybody on the network could read results and run programs as you",
                remedy="Let the scheduler listen on tls:// and name --tls-ca, --tls-cert and --tls-key; without TLS "
                "only a scheduler on this machine's loopback is used",
            )

    def config(self) -> dict[str, Any]:
        """Return the Dask configuration of the client."""
        encrypted = self.address.startswith("tls://")
        tls = {"ca-file": str(self.ca), "client": {"cert": str(self.cert), "key": str(self.key)}} if encrypted else {}
        return {
            "distributed": {
                "comm": {
                    "require-encryption": encrypted,
                    "tls": tls,
                    "timeouts": {"connect": "10s", "tcp": "15s"},
                    "retry": {"count": 0},
                }
            }
        }


def _port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def machine_of(greeting: Mapping[str, Any]) -> str:
    """Return by what a worker's host is known: its name and its start."""
    return f"{greeting['hostname']} {greeting.get('boot', '')}"


Hear = Callable[[dict[str, Any]], None]


class Link:
    """The client process, and who waits for its answers.

    Parameters
    ----------
    scheduler : Scheduler
        To be checked already.
    hear : callable
        Gets every message that is no answer; ``{"event": "lost", "reason"}`` when there will be no more.
    """

    def __init__(self, scheduler: Scheduler, hear: Hear) -> None:
        self._scheduler = scheduler
        self._hear = hear
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._numbers = itertools.count(1)
        self._closing = False
        self.versions: dict[str, str] = {}

    async def start(self) -> None:
        """Connect; raises `EngineError` with the cause."""
        self._folder = tempfile.TemporaryDirectory(prefix="timeeval-joined-")
        host = Host("this machine", 0, (), "", self._folder.name)
        spec = {
            "role": "joined",
            "scheduler": self._scheduler.address,
            "config": self._scheduler.config(),
            "folder": self._folder.name,
            "logging": DaskSettings(console_level="WARNING").logging_config("driver"),
            "start_seconds": START_SECONDS,
            "parent": os.getpid(),
        }
        self._process = await LocalLauncher().start(host, "timeeval.engines.worker_main", spec)
        try:
            async with asyncio.timeout(START_SECONDS + 10):
                first = await self._process.receive()
        except TimeoutError:
            first = {"event": "failed", "error": f"no answer within {START_SECONDS:g} s"}
        if first is None or first["event"] != "up":
            why = first["error"] if first else self._process.last_words()
            await self.stop()
            raise EngineError(
                f"the Dask scheduler {self._scheduler.address} cannot be used: {why}",
                remedy="See whether it runs there, and whether the certificates are those of its authority",
            )
        self.versions = first["versions"]
        self._reading = asyncio.create_task(self._read(self._process))

    async def send(self, **message: object) -> None:
        """Send a message; raises `EngineError` when the process is gone."""
        if self._process is None or self._reading is None or self._reading.done():
            raise EngineError(f"the Dask scheduler {self._scheduler.address} is not connected any more")
        try:
            await self._process.send(message)
        except OSError as error:
            raise EngineError(f"the Dask client of this run is gone: {error}") from error

    async def ask(self, worker: str, task: str, job: object, seconds: float) -> str:
        """Run ``module:function`` on a worker and return its answer; raises `EngineError`."""
        return await self._answer(seconds, do="ask", worker=worker, task=task, job=job)

    async def fetch(self, worker: str, there: Mapping[str, object], here: Mapping[str, str], seconds: float) -> str:
        """Bring a file of a worker's host: ``root``, ``path``, ``size``, ``digest`` there; ``target``, ``stage`` here.

        Raises
        ------
        EngineError
            If it did not come, or is another one than was announced.
        """
        return await self._answer(seconds, do="fetch", worker=worker, there=dict(there), here=dict(here))

    async def _answer(self, seconds: float, **message: object) -> str:
        question = str(next(self._numbers))
        future = self._answers[question] = asyncio.get_running_loop().create_future()
        try:
            await self.send(question=question, **message)
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise EngineError(f"the worker {message['worker']} did not answer within {seconds:g} s") from None
        finally:
            del self._answers[question]

    async def _read(self, process: Process) -> None:
        reason = ""
        with contextlib.suppress(OSError, ValueError):
            while (message := await process.receive()) is not None:
                if message["event"] == "answer":
                    self._take(message)
                elif message["event"] == "failed":
                    reason = message["error"]
                else:
                    self._hear(message)
        reason = reason or process.last_words()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(EngineError(f"the Dask scheduler {self._scheduler.address} was lost: {reason}"))
        if not self._closing:
            self._hear({"event": "lost", "reason": reason})

    def _take(self, message: dict[str, Any]) -> None:
        future = self._answers.get(message["question"])
        if future is not None and not future.done():
            if "error" in message:
                future.set_exception(EngineError(message["error"]))
            else:
                future.set_result(message["text"])

    async def stop(self) -> None:
        """Let go of the scheduler; nothing is ended there."""
        self._closing = True
        if self._process is not None:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._process.close(), CLOSE_SECONDS)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
