"""What Dask is told by the run, and what it is not: with a real Dask on this machine."""

import asyncio
import copy
import json
import re
import socket
import subprocess
import sys

import dask
import pytest
from conftest import Run, listening_of

from timeeval.engines.launching import LocalLauncher
from timeeval.errors import EngineError
from timeeval.run.model import HostUp, Reported

pytestmark = pytest.mark.usefixtures("no_leftovers")
WORDS = 'it\'s "$HOME"; `id` \\ \n$(id)'


def free_ports(count):
    """Return the first of so many neighbouring ports that nobody has."""
    for first in range(32000 - count, 20000, -count):
        with socket.socket() as one, socket.socket() as last:
            try:
                one.bind(("127.0.0.1", first))
                last.bind(("127.0.0.1", first + count - 1))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def test_dask_knows_what_the_run_says_and_nothing_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_OF__ENVIRONMENT", "environment-of-the-driver")
    first = free_ports(9)

    async def scenario():
        options = {"env": {"WORDS": WORDS}, "memory_limit": 0}
        ports = {"scheduler_port": first, "worker_ports": f"{first + 1}:{first + 8}"}
        log = str(tmp_path / "no such folder yet" / "dask.log")
        async with Run(tmp_path, slots=2, worker_options=options, log_file=log, **ports) as run:
            await run.submit("tell", f"tell {tmp_path / 'told'}")
            assert isinstance(await run.outcome("tell"), Reported)
            listening = await asyncio.to_thread(listening_of, "test")
            return listening, [name for name, _ in run.network.processes]

    with dask.config.set({"of": {"driver": "secret-of-the-driver"}}):
        before = copy.deepcopy(dask.config.config)
        listening, connections = asyncio.run(scenario())
        assert dask.config.config == before

    config, environment = json.loads((tmp_path / "told").read_text())
    assert "of-the-driver" not in json.dumps(config)
    assert config["distributed"]["comm"]["require-encryption"] is True
    assert environment["WORDS"] == WORDS  # no shell has read it
    # the scheduler, two nannies and two workers, and the page of each that only says that it lives
    named = {port for port, _ in listening if first <= port <= first + 8}
    assert first in named
    assert len(named) == 5
    assert connections == ["host1"]  # one for all its slots
    log = (tmp_path / "no such folder yet" / "dask-host1.log").read_text(encoding="utf-8")
    assert re.search(rf"Scheduler at: +tls://127\.0\.0\.1:{first}\n", log)


@pytest.fixture
def others(tmp_path):
    """A scheduler of somebody else's."""
    script = (
        "import asyncio, sys; from distributed import Scheduler\n"
        "async def main():\n"
        "    async with Scheduler(host='127.0.0.1', port=0, dashboard_address='127.0.0.1:0') as s:\n"
        "        print(s.port, flush=True); await s.finished()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline()), process
        process.kill()


def test_a_cluster_of_others_at_our_port_is_named_and_left_alone(tmp_path, others):
    port, process = others

    async def scenario():
        run = Run(tmp_path, hosts=2, scheduler_port=port)
        try:
            await run.engine.start(run.post)
        finally:
            await run.engine.stop()

    with pytest.raises(EngineError, match=rf"port {port} is held by process {process.pid} ") as caught:
        asyncio.run(scenario())

    assert "[ports]" in str(caught.value)
    assert process.poll() is None
    asyncio.run(_answers(port))


async def _answers(port):
    from distributed import Client

    async with Client(f"tcp://127.0.0.1:{port}", asynchronous=True, timeout=10) as client:
        assert client.scheduler is not None


class Slow(LocalLauncher):
    """A way to hosts one of which takes as long as the others need to be there."""

    def __init__(self):
        self.waiting = asyncio.Event()
        self.asked = []

    async def start(self, host, program, args):
        self.asked.append(host.name)
        if host.name == "host1":
            await self.waiting.wait()  # for the one that is asked last
        if host.name == "host3":
            self.waiting.set()
        return await super().start(host, program, args)


def test_hosts_start_side_by_side(tmp_path):
    async def scenario():
        run = Run(tmp_path, hosts=3)
        run.engine._launcher = Slow()
        async with run:
            return {event.host for event in run.events if isinstance(event, HostUp)}

    assert asyncio.run(scenario()) == {"host1", "host2", "host3"}
