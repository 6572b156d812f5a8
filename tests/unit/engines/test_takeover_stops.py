"""Runs that are stopped, or meet a defect, while Dask is being started anew: they end in order, or go on."""

import asyncio
import json
import os
import signal
import subprocess

import pytest
from conftest import HERE, Run, pids_of, processes_of, until
from test_anew import Anew

from timeeval.engines.hosts import GuardedHost
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import HostLost, Outcome, Reported

pytestmark = pytest.mark.usefixtures("no_leftovers")

DRIVER = """
import asyncio, json, sys
from pathlib import Path
sys.path[:0] = [{here!r}]
from conftest import Run, until
from timeeval.engines import dask_engine
from timeeval.run.conduct import Plan, conduct
from timeeval.run.model import Cell, Execution
from timeeval.run.records import RunInfo
from timeeval.run.session import Place

folder, cut, ends = Path({folder!r}), {cut!r}, {ends!r}
run = Run(folder, hosts=2, takeover=1, lease=120)
start, calls = dask_engine.start_dask, []

async def lose_the_first():
    await until((folder / "lose").exists, 60)
    run.network.cut("host1")

async def start_dask(*args):
    calls.append(args)
    if len(calls) == 1:
        calls.append(asyncio.create_task(lose_the_first()) if cut else None)
        return await start(*args)
    if ends:
        await start(*args)
    (folder / "anew").touch()
    await asyncio.Event().wait()

dask_engine.start_dask = start_dask
grid = [(Execution(f"k{{n}}", Cell("alg", "c", f"d{{n}}", "p", 1)), {{"algo": "x"}}) for n in range(4)]
job = f"mark {{folder / 'marks'}} 600".encode()
plan = Plan(folder, RunInfo("test", 1, "digest", 1.0), grid, lambda *_: job)
outcomes = conduct(plan, Place(run.engine, remote=True), grace=1.0)
print(json.dumps([outcomes.reason, outcomes.signal.name]))
"""


@pytest.mark.parametrize(
    ("cut", "ends", "numbers"),
    [
        pytest.param(False, False, [signal.SIGINT], id="as-it-begins"),
        pytest.param(False, True, [signal.SIGTERM], id="as-it-is-up"),
        pytest.param(True, True, [signal.SIGINT] * 2, id="while-the-first-host-is-not-reached"),
    ],
)
def test_a_signal_while_dask_is_started_anew_ends_the_run_and_leaves_nothing(tmp_path, run_program, cut, ends, numbers):
    program = DRIVER.format(here=HERE, folder=str(tmp_path), cut=cut, ends=ends)
    driver = run_program("-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    marks = tmp_path / "marks"

    async def stop_it():
        await until(lambda: marks.exists() and len(marks.read_text().split()) == 2, 40)
        (tmp_path / "lose").touch()
        for pid in [] if cut else pids_of("test", "scheduler", tmp_path):
            os.kill(pid, signal.SIGKILL)
        await until((tmp_path / "anew").exists, 40)
        for number in numbers:
            driver.send_signal(number)

    asyncio.run(stop_it())
    output, said = driver.communicate(timeout=50)

    assert driver.returncode == 0, said
    assert json.loads(output) == ["stopped on request", numbers[-1].name]
    assert "did not confirm" not in said
    assert "Traceback" not in said
    with Journal.read(tmp_path / FILE_NAME) as journal:
        assert journal.open_attempts() == []
        rows = journal.rows()
    assert {row.outcome for row in rows} == {Outcome.CANCELLED, None}
    assert not any("did not confirm" in row.error for row in rows)
    asyncio.run(until(lambda: not processes_of("test"), 30))  # a host that is not reached ends what it has by itself


def test_a_defect_that_stays_loses_the_hosts_and_says_why(tmp_path, monkeypatch, caplog):
    async def never(_start):
        raise RuntimeError("nobody thought of this")

    anew = Anew(monkeypatch, never)

    async def scenario():
        async with Run(tmp_path, hosts=2) as run:
            await anew.needed(tmp_path, run)
            await until(lambda: not run.engine._members)
            return {event.host: event for event in run.events if isinstance(event, HostLost)}

    lost = asyncio.run(scenario())

    assert sorted(lost) == ["host1", "host2"]
    assert all("RuntimeError: nobody thought of this" in event.reason for event in lost.values())
    assert "host1 is lost: Dask ended for the 4th time" in caplog.text
    assert "--resume" in caplog.text


def test_a_defect_in_what_is_done_for_an_attempt_loses_its_host_and_not_the_run(tmp_path, monkeypatch, caplog):
    async def fail(*_):
        raise RuntimeError("nobody thought of this")

    async def scenario():
        async with Run(tmp_path, hosts=2) as run:
            await run.submit("running", f"mark {tmp_path / 'marks'} 600")
            await until((tmp_path / "marks").exists)
            monkeypatch.setattr(GuardedHost, "cancel", fail)
            await run.engine.cancel("running")
            lost = await run.wait_for(lambda event: isinstance(event, HostLost))
            await run.submit("after", "sleep 0", "host2")
            return lost, await run.outcome("after")

    lost, after = asyncio.run(scenario())

    assert lost.host == "host1"
    assert "RuntimeError: nobody thought of this" in lost.reason
    assert isinstance(after, Reported)
    assert "nobody thought of this" in caplog.text
