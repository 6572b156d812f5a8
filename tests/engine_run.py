"""An engine over the practice cluster, work that leaves much behind, and what of it is on the nodes."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timeeval import cluster as clusters
from timeeval.engines.base import Parcel
from timeeval.run.model import Attempt, HostLost, Interrupted, Outcome, Reported
from timeeval.run.packing import Packer

RUN = "dasktest"
CLEAN_SECONDS = 30
LEASE = 10.0


@pytest.fixture(scope="session")
def environment(sandbox, cluster_file):
    """Nodes whose environment holds this very source."""
    argv = [str(Path(sys.executable).with_name("timeeval-provision")), "create-envs", "--cluster", str(cluster_file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return cluster_file


@pytest.fixture
def nothing_left(sandbox):
    yield
    assert left_on(sandbox) == {}


def left_on(sandbox):
    """Return what of the run is on the nodes that are up: processes, containers, folders."""
    script = (
        f"grep -lzs '^TIMEEVAL_RUN={RUN}@' /proc/[0-9]*/environ; "
        f"docker ps -aq --filter label=timeeval.run={RUN}; "
        f"ls -d /srv/timeeval/state/runs/{RUN}@* 2>/dev/null; true"
    )
    found = {}
    for name in ("node1", "node2", "node3"):
        node = sandbox.node(name)
        if node.state() == "running" and (text := node.exec(["sh", "-c", script]).stdout.strip()):
            found[name] = text
    return found


async def until(condition, seconds=float(CLEAN_SECONDS)):
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another machine makes it true
            await asyncio.sleep(0.2)


class Run:
    """An engine over the sandbox, and what it posted."""

    def __init__(self, cluster_file, limit=(), **options):
        cluster = clusters.open_cluster(cluster_file)
        nodes = clusters.choose(cluster, limit, (), None)
        self.results = options.pop("results", Path("/nowhere/dask-engine-test"))
        self.engine = clusters.make_engine(
            cluster, nodes, RUN, results_path=self.results, lease=options.pop("lease", LEASE), **options
        )
        self.packer = Packer(self.engine.results_dir(self.results))
        self.events = []
        self.changed = asyncio.Event()

    def post(self, event):
        self.events.append(event)
        self.changed.set()

    async def __aenter__(self):
        await self.engine.start(self.post)
        return self

    async def __aexit__(self, *_):
        await self.engine.stop()

    async def submit(self, attempt_id, host, function=lambda: None):
        job = self.packer.pack_calls([function], "test")
        await self.engine.submit(Parcel((Attempt(attempt_id, "execution", 1, host),), (job,)))

    async def wait_for(self, condition, seconds=60.0):
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if condition(event):
                        return event
                self.changed.clear()
                await self.changed.wait()

    async def outcome(self, attempt_id, seconds=60.0):
        def about(event):
            report = event.report if isinstance(event, Reported) else None
            return (report and report.attempt == attempt_id) or (
                isinstance(event, Interrupted) and event.attempt == attempt_id
            )

        return await self.wait_for(about, seconds)

    async def lost(self, host, seconds=60.0):
        return await self.wait_for(lambda event: isinstance(event, HostLost) and event.host == host, seconds)

    async def ok(self, attempt_id, host, seconds=60.0):
        """Demand that a host computes."""
        await self.submit(attempt_id, host)
        outcome = await self.outcome(attempt_id, seconds)
        assert isinstance(outcome, Reported), outcome
        assert outcome.report.outcome is Outcome.OK, outcome


def busy():
    """Leave grandchildren and a labelled container, then compute for long."""
    import subprocess
    import sys

    double_fork = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(600)"
    subprocess.run([sys.executable, "-c", double_fork], check=True)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    archive = subprocess.run(["tar", "-cf", "-", "-C", "/etc", "hostname"], check=True, capture_output=True).stdout
    subprocess.run(["docker", "import", "-", "timeeval-test/empty:1"], input=archive, check=True, capture_output=True)
    label = "timeeval.run=dasktest"
    subprocess.run(
        ["docker", "create", "--label", label, "timeeval-test/empty:1", "x"], check=True, capture_output=True
    )
    time.sleep(600)


def is_busy(sandbox, name):
    found = sandbox.node(name).exec(["docker", "ps", "-aq", "--filter", f"label=timeeval.run={RUN}"]).stdout
    return bool(found.strip())


def kill_on(sandbox, name, pattern):
    """Kill the first process of the run on a node whose command line has a pattern."""
    script = (
        f"for p in $(grep -lzs '^TIMEEVAL_RUN={RUN}@' /proc/[0-9]*/environ | cut -d/ -f3); do "
        f"if tr '\\0' ' ' < /proc/$p/cmdline | grep -q '{pattern}'; then kill -9 $p; exit 0; fi; done; exit 1"
    )
    sandbox.node(name).exec(["sh", "-c", script])


def sweep(environment, name):
    async def scenario():
        async with Run(environment, limit=[name]) as run:
            await run.ok("after", name)

    asyncio.run(scenario())
