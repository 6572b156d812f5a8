"""How a program gets to a host: the seam between the engine and whatever reaches its hosts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, Any, Protocol

LINE_LIMIT = 1 << 30
TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that computes.

    Attributes
    ----------
    name : str
        Its name in the run.
    slots : int
        Number of experiments at a time.
    addresses : tuple of str
        IP addresses by which the other hosts may reach it, the best first.
    python : str
        Interpreter of the environment in which experiments run there.
    state : str
        Folder there for what lives as long as a run.
    standing : str
        What was proven of it, for its workers to check before each attempt; empty where nothing was.
    speed : float
        How fast it computes relative to the usual host; 1 where that is not known.
    """

    name: str
    slots: int
    addresses: tuple[str, ...]
    python: str
    state: str
    standing: str = ""
    speed: float = 1.0

    def slot_names(self) -> list[str]:
        """Return the names of its slots, each of which is a Dask worker."""
        return [f"{self.name}-{number}" for number in range(self.slots)]


class Process(Protocol):
    """A long-lived program on a host."""

    async def receive(self) -> dict[str, Any] | None:
        """Return its next message, None when it has ended or the way to it is gone."""
        ...

    async def send(self, message: dict[str, Any]) -> None:
        """Send it a message; raises OSError when it cannot be reached any more."""
        ...

    async def close(self) -> None:
        """Let go of it; it sees the end of its input."""
        ...

    def last_words(self) -> str:
        """Return how it ended and the last lines it wrote to stderr, for an error message."""
        ...


class Launcher(Protocol):
    """Starts programs on hosts."""

    async def start(self, host: Host, program: str, args: dict[str, Any]) -> Process:
        """Start a program of the standard library's Python; raises `timeeval.errors.EngineError` with the cause."""
        ...


class LocalProcess:
    """A program of this machine that speaks JSON lines on its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    async def receive(self) -> dict[str, Any] | None:
        """See `Process`."""
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """See `Process`."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with a pipe
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        """See `Process`."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(OSError):
                await self._process.stdin.wait_closed()
        await self._process.wait()
        self._log.close()

    def last_words(self) -> str:
        """See `Process`."""
        status = self._process.returncode
        if self._log.closed:
            return f"exit status {status}"
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")
        return f"exit status {status}\n" + "\n".join(text.splitlines()[-TAIL_LINES:])


class LocalLauncher:
    """Starts programs on this machine."""

    async def start(self, host: Host, program: str, args: dict[str, Any]) -> Process:  # noqa: ARG002 - there is only one
        """See `Launcher`."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C on the terminal is the driver's to answer
        )
        local = LocalProcess(process, log)
        await local.send(args)
        return local
