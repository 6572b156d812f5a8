import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from timeeval.engines.base import Parcel
from timeeval.engines.dask_engine import DaskEngine
from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.launching import Host, LocalLauncher
from timeeval.errors import EngineError
from timeeval.run import standing
from timeeval.run.model import Attempt, HostUp, Interrupted, Reported

HERE = str(Path(__file__).parent)
SESSION = os.environ.setdefault("TIMEEVAL_TEST_SESSION", str(os.getpid()))


def own(run_id: str) -> str:
    """Return the name of a run that no other test session on this machine has: they would end each other's."""
    return f"{run_id}-{SESSION}"


class Network(LocalLauncher):
    """This machine as if a network were between: it can be cut and comes back."""

    def __init__(self):
        self.unreached = set()
        self.processes = []

    async def start(self, host, program, args):
        if host.name in self.unreached:
            raise EngineError("no route to it", host=host.name)
        process = await super().start(host, program, args)
        self.processes.append((host.name, process))
        return process

    def cut(self, *hosts):
        """End all connections to these hosts, to all if none is named, and let there be no new one."""
        for name, process in self.processes:
            if not hosts or name in hosts:
                self.unreached.add(name)
                if process._process.returncode is None:
                    process._process.kill()

    def mend(self):
        self.unreached.clear()


class Run:
    """An engine over local guards, and what it posted."""

    def __init__(self, state: Path, slots: int = 1, hosts: int = 1, run_id: str = "test", **settings):
        self.network = Network()
        self.state = state
        self.events = []
        self.changed = asyncio.Event()
        options = {"lease": 20, "linger": 1, "start_seconds": 30, "environment": {"PYTHONPATH": HERE}, **settings}
        proven = json.dumps({"schema": standing.SCHEMA})
        self.hosts = [
            Host(f"host{n}", slots, ("127.0.0.1",), sys.executable, str(state), proven) for n in range(1, hosts + 1)
        ]
        self.engine = DaskEngine(
            self.hosts, self.network, own(run_id), settings=DaskSettings(**options), task="engine_tasks:run"
        )

    def post(self, event):
        self.events.append(event)
        self.changed.set()

    async def __aenter__(self):
        await self.engine.start(self.post)
        return self

    async def __aexit__(self, *_):
        await self.engine.stop()

    async def submit(self, attempt_id: str, job: str, host: str = "host1", parts=()):
        attempt = Attempt(attempt_id, "execution", 1, host)
        await self.engine.submit(Parcel((attempt,), (job.encode(),), dict(parts)))

    async def submit_bundle(self, **jobs: str):
        attempts = tuple(Attempt(name, "execution", 1, "host1") for name in jobs)
        await self.engine.submit(Parcel(attempts, tuple(job.encode() for job in jobs.values())))

    async def wait_for(self, condition, seconds=20.0):
        """Return the first event for which the condition holds."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if condition(event):
                        return event
                self.changed.clear()
                await self.changed.wait()

    async def outcome(self, attempt_id: str, seconds=20.0):
        def about(event):
            return (isinstance(event, Reported) and event.report.attempt == attempt_id) or (
                isinstance(event, Interrupted) and event.attempt == attempt_id
            )

        return await self.wait_for(about, seconds)

    async def up(self):
        return await self.wait_for(lambda event: isinstance(event, HostUp))


def processes_of(run_id: str) -> list[str]:
    """Return the command lines of the processes that carry a run's mark."""
    return [line for _, line in running_of(run_id)]


def running_of(run_id: str) -> list[tuple[int, str]]:
    """Return pid and command line of the processes that carry a run's mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"TIMEEVAL_RUN={own(run_id)}@".encode() in (entry / "environ").read_bytes():
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append((int(entry.name), line))
            except OSError:
                continue
    return found


def pids_of(run_id, role, state):
    """Return the processes that write a log of the run folder."""
    table = {}
    for log in state.glob(f"runs/{own(run_id)}@*/{role}.log"):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "fd" / "2").readlink() == log:
                        table[int(entry.name)] = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
    return [pid for pid, line in table.items() if b"worker_main" in line]


def listening_of(run_id):
    """Return (port, address) of all listening sockets of a run's processes."""
    sockets = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"TIMEEVAL_RUN={own(run_id)}@".encode() in (entry / "environ").read_bytes():
                    sockets |= {str(fd.readlink()) for fd in (entry / "fd").iterdir()}
            except OSError:
                continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                found.add((int(port, 16), address))
    return found


async def until(condition, seconds=20.0):
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.05)


@pytest.fixture
def no_leftovers(tmp_path):
    """Demand that nothing of the run named "test" is left afterwards."""
    yield
    assert processes_of("test") == []
    assert list(tmp_path.glob("runs/*")) == []


@pytest.fixture
def run_program():
    """Run a script in a Python of its own and kill it at the end."""
    started = []

    def start(*argv, **options):
        process = subprocess.Popen([sys.executable, *argv], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
