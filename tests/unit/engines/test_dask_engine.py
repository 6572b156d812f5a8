"""The engine with a real Dask on this machine: start, work, faults, security, end."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys

import psutil
import pytest
from conftest import HERE, Run, listening_of, own, pids_of, processes_of, running_of, until
from processes import texts

from timeeval.engines.dask_engine import DaskEngine
from timeeval.engines.launching import Host, LocalLauncher
from timeeval.engines.security import Authority
from timeeval.errors import EngineError
from timeeval.run.model import HostLost, HostUp, Interrupted, Reported

pytestmark = pytest.mark.usefixtures("no_leftovers")


class Live:
    """One engine for the tests that leave it as it was; its lease is long, because its loop stands between them.

    No two of them give an attempt the same name: Dask may not have ended the one that its worker took down with it.
    """

    def __init__(self, state):
        self.state = state
        self._loop = asyncio.Runner()
        self.run = Run(state, run_id="live", lease=600, start_seconds=60)

    def __enter__(self):
        self._loop.run(self.run.__aenter__())
        return self

    def __exit__(self, *_):
        self._loop.run(self.run.__aexit__())
        self._loop.close()

    def do(self, scenario):
        """Run a coroutine function with the engine."""
        self.run.events.clear()
        return self._loop.run(scenario(self.run))


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with Live(tmp_path_factory.mktemp("live")) as engine:
        yield engine
    assert processes_of("live") == []
    assert list(engine.state.glob("runs/*")) == []


def test_attempts_come_back_as_reports(live):
    async def scenario(run):
        for number in range(6):
            await run.submit(f"a{number}", "sleep 0.02")
        return [await run.outcome(f"a{number}") for number in range(6)]

    outcomes = live.do(scenario)

    assert [outcome.report.attempt for outcome in outcomes] == [f"a{number}" for number in range(6)]


def test_what_was_proven_of_a_host_is_there_once_for_all_its_attempts(live):
    async def scenario(run):
        for name in ("s1", "s2"):
            await run.submit(name, "standing")
        return [await run.outcome(name) for name in ("s1", "s2")]

    assert [type(outcome) for outcome in live.do(scenario)] == [Reported, Reported]


def test_what_is_no_report_is_an_interruption_and_never_loaded(live, tmp_path):
    trap = tmp_path / "trap"

    async def scenario(run):
        await run.submit("raise", "raise boom")
        await run.submit("garbage", "garbage")
        await run.submit("lie", f"lie {trap}")  # from now on this worker answers with a pickle that bites
        await run.submit("bitten", "sleep 0")
        await run.submit("after", "flood 5")
        names = ("raise", "garbage", "bitten", "after")
        return {name: await run.outcome(name) for name in names}

    outcomes = live.do(scenario)

    assert "exception instead of a report" in outcomes["raise"].reason
    assert "is no report" in outcomes["garbage"].reason
    assert "posix.mkdir" in outcomes["bitten"].reason
    assert not trap.exists()
    assert isinstance(outcomes["after"], Reported)


def test_a_host_reports_its_own_attempts_only(live):
    async def scenario(run):
        await run.submit("mine", "sleep 1")
        run.engine._dispatch.report("elsewhere", "mine", json.dumps({"attempt": "mine"}))
        return await run.outcome("mine"), run.events

    outcome, events = live.do(scenario)

    assert isinstance(outcome, Reported)
    assert len(events) == 1


def test_a_killed_worker_interrupts_its_attempt_and_comes_back(live):
    async def scenario(run):
        await run.submit("die", "die")
        await run.submit("next", "sleep 0")
        return await run.outcome("die"), await run.outcome("next"), run.events

    died, following, events = live.do(scenario)

    assert isinstance(died, Interrupted)
    assert not died.cancelled
    assert isinstance(following, Reported)
    assert not any(isinstance(event, HostLost) for event in events)


def test_what_is_sent_to_a_worker_that_has_just_ended_is_answered_soon(live):
    async def scenario(run):
        await run.submit("before", "sleep 0")
        await run.outcome("before")
        (slot,) = run.engine._members["host1"].slots.values()
        nanny = psutil.Process(slot.pid).ppid()
        os.kill(nanny, signal.SIGSTOP)  # so that it tells the driver later than the scheduler notices
        os.kill(slot.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)
        await run.submit("late", "sleep 0")
        await asyncio.sleep(0.5)
        os.kill(nanny, signal.SIGCONT)
        answer = await run.outcome("late", 10)
        await run.submit("following", "sleep 0")
        return answer, await run.outcome("following", 10)

    late, following = live.do(scenario)

    assert isinstance(late, Interrupted)
    assert not late.cancelled
    assert isinstance(following, Reported)


def test_each_of_a_bundle_is_reported_the_moment_it_ends(live):
    async def scenario(run):
        await run.submit_bundle(first="sleep 0", second="sleep 0", last="sleep 600")
        early = [await run.outcome("first"), await run.outcome("second")]
        told = [event for event in run.events if isinstance(event, Reported)]
        await run.engine.cancel("last")
        return early, told, await run.outcome("last")

    early, told, last = live.do(scenario)

    assert early == told
    assert [event.report.attempt for event in early] == ["first", "second"]
    assert last == Interrupted("last", "cancelled", cancelled=True)


def test_what_is_left_of_a_lost_bundle_is_interrupted_one_by_one(live):
    async def scenario(run):
        await run.submit_bundle(fine="sleep 0", poison="die 0.3", innocent="sleep 0")
        await run.submit("after the loss", "sleep 0")
        return [await run.outcome(name) for name in ("fine", "poison", "innocent", "after the loss")]

    fine, poison, innocent, following = live.do(scenario)

    assert isinstance(fine, Reported)
    assert (poison.attempt, poison.cancelled) == ("poison", False)
    assert (innocent.attempt, innocent.cancelled) == ("innocent", False)
    assert isinstance(following, Reported)


def test_cancel_ends_the_attempt_with_all_it_started(live):
    async def scenario(run):
        await run.submit("long", "spawn 600")
        await run.submit("waiting", "sleep 600")
        await until(lambda: any("time.sleep(600)" in line for line in processes_of("live")))
        await run.engine.cancel("waiting")
        await run.engine.cancel("long")
        await run.outcome("long")
        left = [line for line in processes_of("live") if "sleep" in line]
        await run.submit("after the end", "sleep 0")
        return left, await run.outcome("long"), await run.outcome("waiting"), await run.outcome("after the end")

    left, long, waiting, following = live.do(scenario)

    assert left == []
    assert long == Interrupted("long", "cancelled", cancelled=True)
    assert waiting == Interrupted("waiting", "cancelled", cancelled=True)
    assert isinstance(following, Reported)


def test_no_key_is_in_arguments_or_environment_and_logs_are_private(live):
    def look():
        files = [path for path in live.state.rglob("*") if path.is_file()]
        assert not any(b"PRIVATE KEY" in text or b"BEGIN CERT" in text for text in texts("cmdline", "environ"))
        assert not any(b"PRIVATE KEY" in path.read_bytes() for path in files)
        [folder] = live.state.glob("runs/*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.glob("*.log")} == {0o600}

    async def scenario(_run):
        await asyncio.to_thread(look)

    live.do(scenario)


def test_a_stranger_is_refused_at_every_port(live, tmp_path):
    stranger = Authority.make("other").issue("client")
    pem = tmp_path / "stranger.pem"
    pem.write_text(stranger.certificate + stranger.key)

    def speaks(port, *, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(pem)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as raw, context.wrap_socket(raw) as tls:
                return bool(tls.recv(1))  # TLS 1.3 tells a client of its refusal with the first byte read
        except OSError:
            return False

    async def scenario(_run):
        ports = await asyncio.to_thread(listening_of, "live")
        assert {address for _, address in ports} == {"0100007F"}  # 127.0.0.1 and nothing else
        assert len(ports) >= 3  # scheduler, nanny, worker, and their health pages
        for port, _ in ports:
            assert not await asyncio.to_thread(speaks, port, certificate=False)
            assert not await asyncio.to_thread(speaks, port, certificate=True)

    live.do(scenario)


def test_all_slots_compute_and_stop_leaves_nothing_of_what_runs(tmp_path):
    async def scenario():
        async with Run(tmp_path, slots=2) as run:
            await run.submit("one", "sleep 0.2")
            await run.submit("two", "sleep 0.2")
            outcomes = [await run.outcome("one"), await run.outcome("two")]
            await run.submit("long", "spawn 600")
            await until(lambda: any("time.sleep(600)" in line for line in processes_of("test")))
        await run.engine.stop()
        return run.events[0], outcomes

    up, outcomes = asyncio.run(scenario())  # the fixture looks for leftovers

    assert up == HostUp("host1", 2)
    assert len({outcome.report.values["pid"] for outcome in outcomes}) == 2


def test_dead_nannies_lose_the_host_in_bounded_time(tmp_path):
    async def scenario():
        async with Run(tmp_path, hosts=2) as run:
            for pid in pids_of("test", "workers", tmp_path)[:1]:
                os.kill(pid, signal.SIGKILL)
            lost = await run.wait_for(lambda event: isinstance(event, HostLost))
            other = "host2" if lost.host == "host1" else "host1"
            await run.submit("elsewhere", "sleep 0", host=other)
            await run.submit("there", "sleep 0", host=lost.host)
            return lost, await run.outcome("elsewhere"), await run.outcome("there")

    lost, elsewhere, there = asyncio.run(scenario())

    assert "ended with status -9" in lost.reason
    assert isinstance(elsewhere, Reported)
    assert isinstance(there, Interrupted)


def test_a_cut_shorter_than_the_lease_loses_nothing_and_doubles_nothing(tmp_path, caplog):
    marks = tmp_path / "marks"

    async def scenario():
        async with Run(tmp_path, slots=2, linger=20) as run:
            await run.submit("during", f"mark {marks} 1")  # ends while nobody can hear it
            await run.submit("after", f"mark {marks} 4")
            await until(lambda: marks.exists() and len(marks.read_text().split()) == 2)
            run.network.cut()
            lost = await run.wait_for(lambda event: isinstance(event, HostLost))
            await asyncio.sleep(2)
            run.network.mend()
            outcomes = [await run.outcome("during"), await run.outcome("after")]
            return lost, outcomes, run.events

    lost, outcomes, events = asyncio.run(scenario())

    assert lost.fenced_after > 20
    assert all(isinstance(outcome, Reported) for outcome in outcomes)
    assert sorted(marks.read_text().split()) == ["after", "during"]
    assert events.count(HostUp("host1", 2)) == 2
    assert len([event for event in events if isinstance(event, Reported)]) == 2
    assert "host1: connection lost" in caplog.text
    assert "its experiments go on until" in caplog.text
    assert "host1: connected again, nothing was lost" in caplog.text


def test_a_cut_longer_than_the_guard_waits_loses_the_host(tmp_path):
    async def scenario():
        async with Run(tmp_path, hosts=2, linger=0.5) as run:
            await run.submit("lost", "spawn 600", host="host2")
            await until(lambda: any("time.sleep(600)" in line for line in processes_of("test")))
            run.network.cut()
            await until(lambda: not processes_of("test"))
            run.network.mend()
            last = await run.wait_for(lambda event: isinstance(event, HostLost) and event.fenced_after == 0)
            return last, run.events

    last, events = asyncio.run(scenario())

    assert last.reason == "its guard had ended what ran there"
    assert not any(isinstance(event, Reported | Interrupted) for event in events)  # the machine's to decide


def test_a_host_that_cannot_start_is_named_and_the_others_go_on(tmp_path, caplog):
    good = Host("good", 1, ("127.0.0.1",), sys.executable, str(tmp_path))
    broken = Host("broken", 1, ("127.0.0.1",), "/nowhere/bin/python", str(tmp_path))
    foreign = Host("foreign", 1, ("192.0.2.1",), sys.executable, str(tmp_path))
    events = []

    async def scenario():
        engine = DaskEngine([broken, good, foreign], LocalLauncher(), own("test"))
        try:
            await engine.start(events.append)
        finally:
            await engine.stop()
        return {name: str(error) for name, error in engine.failures.items()}

    failures = asyncio.run(scenario())

    assert events == [HostUp("good", 1)]
    assert "broken: " in failures["broken"]
    assert "/nowhere/bin/python: No such file" in failures["broken"]
    assert "create-envs" in failures["broken"]
    assert "192.0.2.1" in failures["foreign"]
    assert 'address = "…"' in failures["foreign"]
    assert caplog.text.count("cleaned up") == 0


def test_too_few_hosts_are_an_error_that_says_why(tmp_path):
    broken = Host("broken", 1, ("127.0.0.1",), "/nowhere/bin/python", str(tmp_path))

    async def scenario():
        await DaskEngine([broken], LocalLauncher(), own("test")).start(lambda _event: None)

    with pytest.raises(EngineError, match="No such file"):
        asyncio.run(scenario())


def test_a_killed_driver_leaves_nothing(tmp_path, run_program):
    script = f"""
import asyncio, sys
sys.path.insert(0, {HERE!r})
from pathlib import Path
from conftest import Run
async def main():
    async with Run(Path({str(tmp_path)!r})) as run:
        await run.submit("long", "spawn 600")
        print("up", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""

    driver = run_program("-c", script, stdout=-1)
    assert driver.stdout.readline() == b"up\n"
    driver.kill()
    driver.stdout.close()
    asyncio.run(until(lambda: not processes_of("test") and not list(tmp_path.glob("runs/*"))))


@pytest.mark.parametrize("after", [0.0, 0.8])
def test_a_worker_killed_while_its_nanny_starts_has_an_answer_in_time(tmp_path, after):
    async def kill_one():
        while not (pids := [pid for pid, line in running_of("test") if "spawn_main" in line]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(after)
        os.kill(pids[0], signal.SIGKILL)

    async def scenario():
        killing = asyncio.create_task(kill_one())
        async with Run(tmp_path, hosts=2, start_seconds=60, back_seconds=5) as run:
            await killing
            for host in ("host1", "host2"):
                await run.submit(f"on-{host}", "sleep 0", host)
            return [await run.outcome(f"on-{host}") for host in ("host1", "host2")], run.engine.failures

    outcomes, failures = asyncio.run(scenario())

    assert Reported in [type(outcome) for outcome in outcomes]  # the other host, if not both, goes on
    assert {type(outcome) for outcome in outcomes} <= {Reported, Interrupted}
    for host, failure in failures.items():
        assert str(failure).startswith(f"{host}: ")
        assert "ended while it was being started" in str(failure)
