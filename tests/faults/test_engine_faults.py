"""The Dask engine on real nodes over SSH: every fault answered in bounded time, nothing left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_run import (
    CLEAN_SECONDS,
    LEASE,
    Run,
    busy,
    is_busy,
    kill_on,
    left_on,
    sweep,
    until,
)

from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.hosts import SETTLE_SECONDS
from timeeval.run.model import HostLost, Interrupted, Outcome, Reported

pytestmark = pytest.mark.usefixtures("nothing_left")


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


MARKS = "/var/tmp/timeeval-takeover-marks"


def counted(seconds):
    """Leave a line for each execution, then compute for a while, or until there is a file that says it is over."""
    import time

    def work():
        with Path(MARKS).open("a", encoding="utf-8") as file:
            file.write("executed\n")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not Path(f"{MARKS}-over").exists():
            time.sleep(0.1)

    return work


async def sent_until_ok(run, attempt_id, host):
    """Demand that a host computes; what was on its way when Dask was started anew is due again, as in a run."""
    for again in range(2):
        await run.submit(f"{attempt_id}{again}", host)
        outcome = await run.outcome(f"{attempt_id}{again}", 60)
        if isinstance(outcome, Reported):
            break
        assert outcome.cancelled, outcome
    assert isinstance(outcome, Reported), outcome
    assert outcome.report.outcome is Outcome.OK, outcome


def test_schedulers_node_is_lost_and_what_runs_elsewhere_goes_on(sandbox, environment):
    node = sandbox.node("node3")

    async def scenario():
        async with Run(environment, lease=20) as run:
            await run.submit("during", "node3", counted(100))
            await until(lambda: node.exec(["sh", "-c", f"cat {MARKS} || true"]).stdout)
            with sandbox.off("node1"):
                await run.lost("node1", 30)
                await sent_until_ok(run, "meanwhile", "node2")
                await asyncio.to_thread(node.exec, ["touch", f"{MARKS}-over"])
                during = await run.outcome("during", 60)
                await run.ok("then", "node3", 60)
            return during, run.events

    try:
        during, events = asyncio.run(scenario())
    finally:
        sandbox.heal()
        sandbox.wait()
        marks = node.exec(["sh", "-c", f"cat {MARKS}; rm -f {MARKS} {MARKS}-over"]).stdout
    assert isinstance(during, Reported)
    assert during.report.outcome is Outcome.OK
    assert marks.split() == ["executed"]
    assert not any(isinstance(event, Interrupted) and not event.cancelled for event in events)
    sweep(environment, "node1")


async def lease_over(run, host):
    """Wait until a host was cut off, and then its lease was over as far as the driver knows."""
    lost = await run.lost(host, LEASE + CLEAN_SECONDS)
    return await run.wait_for(lambda event: isinstance(event, HostLost) and event is not lost, LEASE + CLEAN_SECONDS)


@pytest.mark.parametrize("fault", ["cut_off", "frozen"])
def test_schedulers_node_is_back_after_its_lease_and_has_ended_what_it_had(sandbox, environment, fault):
    async def scenario():
        async with Run(environment) as run:
            await run.submit("cut", "node1", busy)
            await run.submit("during", "node2", counted(12))
            await until(lambda: is_busy(sandbox, "node1"))
            with getattr(sandbox, fault)("node1"):
                await lease_over(run, "node1")
                await sent_until_ok(run, "meanwhile", "node3")
            await until(lambda: "node1" not in left_on(sandbox))
            await run.ok("then", "node2")
            return await run.outcome("during"), run.events

    try:
        during, events = asyncio.run(scenario())
    finally:
        marks = sandbox.node("node2").exec(["sh", "-c", f"cat {MARKS}; rm -f {MARKS}"]).stdout
    assert isinstance(during, Reported)
    assert during.report.outcome is Outcome.OK
    assert marks.split() == ["executed"]
    assert not any(isinstance(event, Interrupted) and not event.cancelled for event in events)
    assert not any(isinstance(event, Reported) and event.report.attempt == "cut" for event in events)


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
                else:
                    # one that thaws within its lease goes on, as it should; a beat may have come after the last answer
                    over = await lease_over(run, "node2")
                    await asyncio.sleep(over.fenced_after - DaskSettings().grace - SETTLE_SECONDS + 1)
            await until(lambda: "node2" not in left_on(sandbox), LEASE + CLEAN_SECONDS)

    asyncio.run(scenario())


DRIVER = """
import asyncio, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from engine_run import Run, busy

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
    script = DRIVER.format(here=str(Path(__file__).parents[1]), cluster=str(environment))
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
