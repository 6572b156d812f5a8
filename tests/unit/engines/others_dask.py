"""A Dask scheduler and its workers as somebody else would start them, by Dask's own commands; and an engine on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from timeeval.engines.base import Parcel
from timeeval.engines.joined import JoinedEngine, JoinedHost
from timeeval.engines.joined_link import Link, Scheduler, machine_of
from timeeval.engines.security import Authority
from timeeval.run import standing
from timeeval.run.model import Attempt, Interrupted, Reported

HERE = str(Path(__file__).parent)
SECONDS = 60.0
STANDING = json.dumps({"schema": standing.SCHEMA})


@dataclass
class OthersDask:
    """One scheduler on the loopback with workers of two threads each."""

    folder: Path
    tls: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._options: dict[str, list[str]] = {"scheduler": [], "worker": []}
        self.files: dict[str, Path] = {}
        if self.tls:
            self._write_certificates()

    def _write_certificates(self) -> None:
        authority = Authority.make("others")
        for role in ("scheduler", "worker", "client"):
            issued = authority.issue(role)
            texts = {"ca": issued.authority, "cert": issued.certificate, "key": issued.key}
            files = {name: self.folder / f"{role}-{name}.pem" for name in texts}
            for name, text in texts.items():
                files[name].write_text(text)
            if role == "client":
                self.files = files
            else:
                self._options[role] = [
                    *("--protocol", "tls", "--tls-ca-file", str(files["ca"])),
                    *("--tls-cert", str(files["cert"]), "--tls-key", str(files["key"])),
                ]

    def start(self, workers: int = 1) -> Scheduler:
        file = self.folder / "scheduler.json"
        common = ["--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1", "--no-dashboard"]
        self._run("scheduler", *common, "--port", "0", "--scheduler-file", str(file), *self._options["scheduler"])
        deadline = time.monotonic() + SECONDS
        while not (file.is_file() and file.stat().st_size):
            assert time.monotonic() < deadline, (self.folder / "scheduler.log").read_text()
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for number in range(workers):
            options = ["--nthreads", "2", "--memory-limit", "0", "--local-directory", str(self.folder)]
            self._run(f"worker{number}", address, *common, *options, *self._options["worker"])
        return Scheduler(address, **self.files)

    def _run(self, name: str, *arguments: str) -> None:
        role = name.rstrip("0123456789")
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": HERE, "TMPDIR": str(self.folder)},
                start_new_session=True,
            )

    def living(self) -> set[str]:
        return {name for name, process in self.processes.items() if process.poll() is None}

    def close(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Run:
    """An engine on somebody's Dask, and what it posted."""

    def __init__(self, scheduler: Scheduler, **options: Any) -> None:
        self.scheduler = scheduler
        self.options = {"task": "engine_tasks:run", **options}
        self.events: list[Any] = []
        self.changed = asyncio.Event()
        self.engine: JoinedEngine

    def post(self, event: Any) -> None:
        self.events.append(event)
        self.changed.set()

    async def __aenter__(self) -> Self:
        news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        link = Link(self.scheduler, news.put_nowait)
        await link.start()
        try:
            workers: dict[str, Any] = {}
            while not workers:
                workers = (await news.get())["workers"]
        finally:
            await link.stop()
        (self.machine,) = {machine_of(greeting) for greeting in workers.values()}
        self.engine = JoinedEngine(
            self.scheduler, [JoinedHost("host1", self.machine, STANDING)], "test", **self.options
        )
        await self.engine.start(self.post)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()

    async def submit(self, *jobs: tuple[str, str]) -> None:
        attempts = tuple(Attempt(name, "execution", 1, "host1") for name, _ in jobs)
        await self.engine.submit(Parcel(attempts, tuple(job.encode() for _, job in jobs)))

    async def wait_for(self, condition: Any, seconds: float = 30.0) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if condition(event):
                        return event
                self.changed.clear()
                await self.changed.wait()

    async def outcome(self, name: str) -> Any:
        def about(event: Any) -> bool:
            return (isinstance(event, Reported) and event.report.attempt == name) or (
                isinstance(event, Interrupted) and event.attempt == name
            )

        return await self.wait_for(about)
