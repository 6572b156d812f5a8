"""The Dask engine on real nodes over SSH: work everywhere, every fault answered in bounded time, nothing left."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timeeval import cluster as clusters
from timeeval.engines.base import Parcel
from timeeval.errors import TimeEvalError
from timeeval.remote_configuration import RemoteConfiguration
from timeeval.run.model import Attempt, HostLost, HostUp, Interrupted, Outcome, Reported
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


@pytest.fixture(autouse=True)
def _nothing_left(sandbox):
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

    async def ok(self, attempt_id, host):
        """Demand that a host computes."""
        await self.submit(attempt_id, host)
        outcome = await self.outcome(attempt_id)
        assert isinstance(outcome, Reported), outcome
        assert outcome.report.outcome is Outcome.OK, outcome


def busy():
    """Leave grandchildren and a labelled container, then compute for long."""
    import subprocess
    import sys
    import time

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


def test_every_node_computes_and_nothing_is_left(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            up = {event.host for event in run.events if isinstance(event, HostUp)}
            assert up == {"node1", "node2", "node3"}
            for name in up:
                await run.ok(f"on-{name}", name)
            await run.submit("long", "node3", busy)
            await until(lambda: is_busy(sandbox, "node3"))

    asyncio.run(scenario())


def test_no_key_is_visible_on_any_node(sandbox, environment):
    script = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -ac 'PRIVATE KE[Y]'; true"
    files = "grep -rIl 'PRIVATE KE[Y]' /srv/timeeval/state /tmp /var/tmp /dev/shm 2>/dev/null; true"

    async def scenario():
        async with Run(environment):
            for name in ("node1", "node2", "node3"):
                node = sandbox.node(name)
                assert (await asyncio.to_thread(node.exec, ["sh", "-c", script])).stdout.strip() == "0"
                assert (await asyncio.to_thread(node.exec, ["sh", "-c", files])).stdout.strip() == ""

    asyncio.run(scenario())


def test_all_sockets_are_bound_to_the_clusters_address(sandbox, environment):
    async def scenario():
        async with Run(environment):
            for name in ("node1", "node2", "node3"):
                node = sandbox.node(name)
                text = (await asyncio.to_thread(node.exec, ["ss", "-Hltnp"])).stdout
                addresses = {line.split()[3].rsplit(":", 1)[0] for line in text.splitlines() if '"python' in line}
                assert addresses == {node.address, "127.0.0.1"}

    asyncio.run(scenario())


@pytest.mark.parametrize(("level", "lines"), [("INFO", True), ("CRITICAL", False)])
def test_the_start_works_at_every_log_level_and_the_log_is_collected(sandbox, environment, tmp_path, level, lines):
    remote = RemoteConfiguration(dask_logging_file_level=level, dask_logging_console_level=level)
    remote.update_logging_path(tmp_path)

    async def scenario():
        async with Run(environment, limit=["node1"], remote=remote, results=tmp_path) as run:
            await run.ok("a", "node1")

    asyncio.run(scenario())
    cluster = clusters.open_cluster(environment)
    depot = clusters.make_depot(cluster, cluster.select(["node1"], ()), tmp_path, remote)
    depot.logs()
    depot.close()
    there = clusters.remote_results(clusters.open_cluster(environment), tmp_path)
    sandbox.node("node1").exec(["rm", "-r", str(there)])

    log = tmp_path / "dask-node1.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    assert ("Scheduler at" in text) is lines
    assert ("Start worker at" in text) is lines


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_a_login_shell_with_a_banner_does_not_matter(sandbox, environment, shell):
    async def scenario():
        async with Run(environment, limit=["node2"]) as run:
            await run.ok("a", "node2")

    with sandbox.login_shell("node2", shell, "Welcome to the lab"):
        asyncio.run(scenario())


def test_a_killed_worker_interrupts_one_attempt_and_comes_back(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node2", busy)
            await until(lambda: is_busy(sandbox, "node2"))
            await asyncio.to_thread(kill_on, sandbox, "node2", "spawn_main")
            assert isinstance(await run.outcome("cut"), Interrupted)
            await run.ok("again", "node2")
            assert not any(isinstance(event, HostLost) for event in run.events)

    asyncio.run(scenario())


def test_killed_nannies_lose_their_host_only(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node2", busy)
            await until(lambda: is_busy(sandbox, "node2"))
            # node2 has no scheduler: the one process of this name is that of its nannies
            await asyncio.to_thread(kill_on, sandbox, "node2", "timeeval.engines.worker_main")
            assert "status -9" in (await run.lost("node2")).reason
            await until(lambda: "node2" not in left_on(sandbox))
            await run.ok("elsewhere", "node3")

    asyncio.run(scenario())


def test_a_dead_node_is_lost_in_bounded_time(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node2", busy)
            await until(lambda: is_busy(sandbox, "node2"))
            await asyncio.to_thread(sandbox.node("node2").kill)
            assert (await run.lost("node2", 30)).fenced_after >= LEASE
            await run.ok("elsewhere", "node3")

    try:
        asyncio.run(scenario())
    finally:
        with contextlib.suppress(Exception):
            sandbox.node("node2").exec(["true"])
        sandbox.heal()
        sandbox.wait()
    # What the power cut left is removed when a run starts there again.
    sweep(environment, "node2")


def sweep(environment, name):
    async def scenario():
        async with Run(environment, limit=[name]) as run:
            await run.ok("after", name)

    asyncio.run(scenario())


def test_the_schedulers_node_dies_and_the_others_go_on(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node3", busy)
            await until(lambda: is_busy(sandbox, "node3"))
            await asyncio.to_thread(sandbox.node("node1").kill)
            await run.lost("node1", 30)
            cut = await run.outcome("cut", 90)
            assert isinstance(cut, Interrupted)
            assert cut.cancelled  # nobody is blamed for it
            await run.ok("again", "node3")
            await run.ok("also", "node2")

    try:
        asyncio.run(scenario())
    finally:
        sandbox.heal()
        sandbox.wait()
    sweep(environment, "node1")


@pytest.mark.parametrize("fault", ["cut_off", "frozen"])
def test_a_node_that_cannot_be_heard_is_lost_and_cleans_itself(sandbox, environment, fault):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node2", busy)
            await until(lambda: is_busy(sandbox, "node2"))
            with getattr(sandbox, fault)("node2"):
                lost = await run.lost("node2", 40)
                assert lost.fenced_after >= LEASE
                await run.ok("elsewhere", "node3")
                if fault == "cut_off":
                    await until(lambda: "node2" not in left_on(sandbox), LEASE + CLEAN_SECONDS)
            await until(lambda: "node2" not in left_on(sandbox), LEASE + CLEAN_SECONDS)

    asyncio.run(scenario())


DRIVER = """
import asyncio, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_dask_engine import Run, busy

async def main():
    async with Run(Path({cluster!r})) as run:
        for name in ("node1", "node2", "node3"):
            await run.submit(name, name, busy)
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_however_the_driver_ends_the_nodes_are_clean_soon(sandbox, environment, number):
    script = DRIVER.format(here=str(Path(__file__).parent), cluster=str(environment))
    driver = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert driver.stdout.readline() == b"up\n"
        asyncio.run(until(lambda: all(is_busy(sandbox, name) for name in ("node1", "node2", "node3")), 60))
        os.killpg(driver.pid, number)
        asyncio.run(until(lambda: left_on(sandbox) == {}))
        assert driver.wait(CLEAN_SECONDS) in {-number, 1}
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()


def test_a_node_down_at_the_start_is_left_out_and_named(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            assert set(run.engine.failures) == {"node3"}
            assert str(run.engine.failures["node3"]).startswith("node3: ")
            await run.ok("a", "node1")

    with sandbox.off("node3"):
        asyncio.run(scenario())


def test_too_few_nodes_are_an_error_that_names_them(sandbox, environment):
    async def scenario():
        async with Run(environment, min_workers=3):
            pass

    with sandbox.off("node3"), pytest.raises(TimeEvalError, match=r"2 of 3 hosts came up(.|\n)*node3"):
        asyncio.run(scenario())


def selfcheck(cluster_file, nodes):
    request = json.dumps({"cluster": str(cluster_file), "nodes": nodes})
    done = subprocess.run(
        [sys.executable, "-m", "timeeval.engines.selfcheck"],
        input=request, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, {answer["node"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def test_the_selfcheck_answers_for_each_node(sandbox, environment):
    with sandbox.off("node2"):
        status, answers = selfcheck(environment, ["node1", "node2", "node3"])

    assert status == 4
    assert {name: answer["ok"] for name, answer in answers.items()} == {"node1": True, "node2": False, "node3": True}
    assert answers["node2"]["error"]
    assert answers["node1"]["worker"]["distributed"]


def test_a_wrong_interpreter_is_named_with_its_remedy(sandbox, environment, cluster_variant):
    file = cluster_variant({'prefix = "/srv/timeeval/envs/demo"': 'prefix = "/srv/timeeval/envs/nowhere"'})
    status, answers = selfcheck(file, ["node1"])

    assert status == 4
    assert "/srv/timeeval/envs/nowhere/bin/python" in answers["node1"]["error"]
    assert "No such file" in answers["node1"]["error"]
    assert "create-envs" in answers["node1"]["error"] + answers["node1"]["remedy"]


def test_the_gate_refuses_unverified_nodes_with_one_command(sandbox, environment, cluster_variant):
    file = cluster_variant({'name = "sandbox"': f'name = "never-verified-{time.time_ns()}"'})
    cluster = clusters.open_cluster(file)
    needs = {"schema": "timeeval.needs/1", "datasets": [], "images": [], "modules": []}

    with pytest.raises(TimeEvalError, match="never verified") as caught:
        clusters.gate(cluster, cluster.nodes, needs)

    assert caught.value.__cause__.exit_code == 16
    assert f"timeeval-provision up --cluster {file} --limit 'node[1-3]'" in str(caught.value)
