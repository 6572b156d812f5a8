"""Dask started anew while attempts go on, and what jobs have in common on its way to a node."""

import asyncio
import hashlib
import json
import os
import re
import signal
from types import SimpleNamespace

import pytest
from conftest import Run, pids_of, processes_of, until

from timeeval.engines import dask_engine, dispatch
from timeeval.engines.base import Parcel
from timeeval.engines.chores import Chores
from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.dispatch import Dispatch
from timeeval.engines.members import Member, Slot
from timeeval.errors import EngineError
from timeeval.run.model import Attempt, HostLost, HostUp, Interrupted, Reported

pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.mark.parametrize("office", ["scheduler", "client"])
def test_a_dead_scheduler_is_started_anew_and_what_runs_goes_on(tmp_path, office):
    marks = tmp_path / "marks"

    async def scenario():
        async with Run(tmp_path, slots=2) as run:
            await run.submit("during", f"mark {marks} 12")
            await until(marks.exists)
            for pid in pids_of("test", office, tmp_path):
                os.kill(pid, signal.SIGKILL)
            await run.submit("waiting", f"mark {marks} 0")
            await run.submit("next", f"mark {marks} 0")  # may be the first on the slot that goes on
            outcomes = [await run.outcome(name, 90) for name in ("waiting", "during", "next")]
            await until(lambda: not pids_of("test", "workers", tmp_path), 60)  # the earlier workers have ended
            await run.submit("last", f"mark {marks} 0")
            return [*outcomes, await run.outcome("last", 90)], run.events

    outcomes, events = asyncio.run(scenario())

    waiting, during, following, last = outcomes
    assert all(isinstance(outcome, Reported) for outcome in (during, following, last)), outcomes
    # It may have been on its way when its Dask died; then nobody is blamed, and it did not begin.
    lost = isinstance(waiting, Interrupted) and waiting.cancelled
    assert lost or isinstance(waiting, Reported)
    assert sorted(marks.read_text().split()) == sorted(["during", "last", "next", *([] if lost else ["waiting"])])
    assert not any(isinstance(event, HostLost) for event in events)


def test_a_scheduler_that_comes_back_after_the_takeover_is_a_host_again(tmp_path):
    marks = tmp_path / "marks"

    async def scenario():
        async with Run(tmp_path, hosts=2, takeover=1, lease=60, linger=60) as run:
            for host in ("host1", "host2"):
                await run.submit(f"during-{host}", f"mark {marks} 8", host)
            await until(lambda: marks.exists() and len(marks.read_text().split()) == 2)
            run.network.cut("host1")
            await until(lambda: is_anew(run, "host2"), 60)
            await run.submit("meanwhile", f"mark {marks} 0", "host1")  # was on its way to it when it was cut off
            run.network.mend()
            await until(lambda: last(run, "host1", HostUp), 60)
            run.network.cut("host2")  # the office goes back
            await until(lambda: is_anew(run, "host1"), 60)
            run.network.mend()
            await until(lambda: last(run, "host2", HostUp), 60)
            await run.submit("then", f"mark {marks} 0", "host2")
            names = ("during-host1", "during-host2", "meanwhile", "then")
            outcomes = [await run.outcome(name, 60) for name in names]
            await until(lambda: not pids_of("test", "workers", tmp_path), 60)  # nothing is left of the first ones
            return outcomes, [event.report.attempt for event in run.events if isinstance(event, Reported)]

    outcomes, reported = asyncio.run(scenario())

    assert all(isinstance(outcome, Reported) for outcome in outcomes), outcomes
    assert sorted(reported) == ["during-host1", "during-host2", "meanwhile", "then"]
    assert sorted(marks.read_text().split()) == sorted(reported)


def test_nobody_is_blamed_for_what_comes_while_the_schedulers_host_is_lost_but_not_given_up(tmp_path):
    async def scenario():
        async with Run(tmp_path, hosts=2, takeover=8, lease=60) as run:
            run.network.cut("host1")
            await until(lambda: last(run, "host1", HostLost))
            await run.submit("meanwhile", "sleep 0", "host2")
            for pid in pids_of("test", "scheduler", tmp_path):
                os.kill(pid, signal.SIGKILL)  # so host2's workers end
            outcome, made = await run.outcome("meanwhile", 60), run.engine._made
        await until(lambda: not processes_of("test"))  # also what is not reached ends by itself
        return outcome, made

    outcome, made = asyncio.run(scenario())

    assert isinstance(outcome, Reported), outcome
    assert made == 2


def is_anew(run, host):
    """Tell whether there is another Dask than the first, with its scheduler on a host."""
    dask = run.engine._dask
    return dask is not None and dask.centre.name == host and run.engine._made > 1


def last(run, host, kind):
    """Tell whether the last that was heard of a host's being there is of a kind."""
    heard = [event for event in run.events if isinstance(event, HostUp | HostLost) and event.host == host]
    return isinstance(heard[-1], kind)


class Anew:
    """The way Dask is started, with something that happens while it is started anew."""

    def __init__(self, monkeypatch, during):
        self.calls = 0
        self._during, self._start = during, dask_engine.start_dask
        monkeypatch.setattr(dask_engine, "start_dask", self)

    async def __call__(self, *args):
        self.calls += 1
        return await (self._start(*args) if self.calls == 1 else self._during(lambda: self._start(*args)))

    @staticmethod
    async def needed(tmp_path, run):
        """Let Dask be started anew, and return when somebody has tried."""
        before = run.engine._made
        for pid in pids_of("test", "client", tmp_path):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: run.engine._made > before)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(EngineError("its host is gone as well", host="host1"), "its host is gone as well", id="error"),
        pytest.param(
            RuntimeError("nobody thought of this"),
            "RuntimeError: nobody thought of this (a defect of timeeval-run",
            id="defect",
        ),
    ],
)
def test_dask_that_cannot_be_started_anew_is_tried_again(tmp_path, monkeypatch, caplog, error, told):
    async def once(start):
        if anew.calls == 2:
            raise error
        return await start()

    anew = Anew(monkeypatch, once)

    async def scenario():
        async with Run(tmp_path) as run:
            await anew.needed(tmp_path, run)
            await run.submit("after", "sleep 0")
            return await run.outcome("after", 60), run.events

    outcome, events = asyncio.run(scenario())

    assert isinstance(outcome, Reported), outcome
    assert not any(isinstance(event, HostLost) for event in events)
    assert re.search(f"Dask could not be started anew: .*{re.escape(told)}", caplog.text)


def test_a_host_that_is_cut_off_is_not_fenced_when_dask_is_given_up(tmp_path, monkeypatch):
    async def never(_start):
        raise EngineError("no port is free", host="host1")

    anew = Anew(monkeypatch, never)

    async def scenario():
        async with Run(tmp_path, hosts=2, lease=60, linger=8) as run:
            run.network.cut("host2")
            await until(lambda: not run.engine._guards["host2"].reached)
            await anew.needed(tmp_path, run)
            await until(lambda: not run.engine._members)
            await until(lambda: not processes_of("test"), 60)  # not before the driver counts as gone there
            return {event.host: event for event in run.events if isinstance(event, HostLost)}

    lost = asyncio.run(scenario())

    assert anew.calls == 1 + dask_engine.REBUILDS
    assert lost["host1"].fenced_after < 30
    assert lost["host2"].fenced_after > 60
    assert "no port is free" in lost["host2"].reason


def test_a_host_that_is_back_before_dask_is_up_is_used_again(tmp_path, monkeypatch):
    async def cut_and_back(start):
        run.network.cut("host2")
        await until(lambda: last(run, "host2", HostLost))
        run.network.mend()
        await until(lambda: run.engine._guards["host2"].reached)
        return await start()

    anew = Anew(monkeypatch, cut_and_back)

    async def scenario():
        async with run:
            await anew.needed(tmp_path, run)
            await until(lambda: last(run, "host2", HostUp), 60)
            await run.submit("after", "sleep 0", "host2")
            return await run.outcome("after", 60)

    run = Run(tmp_path, hosts=2, linger=20)
    assert isinstance(asyncio.run(scenario()), Reported)


def test_a_client_that_ends_while_the_rest_comes_up_is_missed(tmp_path, monkeypatch):
    async def lose_it(start):
        dask = await start()
        if anew.calls == 2:
            for pid in pids_of("test", dask.names.client, tmp_path):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not pids_of("test", dask.names.client, tmp_path))
            await asyncio.sleep(1)  # for the news
        return dask

    anew = Anew(monkeypatch, lose_it)

    async def scenario():
        async with Run(tmp_path) as run:
            await anew.needed(tmp_path, run)
            await run.submit("after", "sleep 0")
            return await run.outcome("after", 60)

    assert isinstance(asyncio.run(scenario()), Reported)


def test_what_earlier_workers_had_is_due_again_and_cleaned_up_when_they_die(tmp_path, monkeypatch):
    marks = tmp_path / "marks"
    cleaned = []

    async def scenario():
        async with Run(tmp_path) as run:
            await run.submit("during", f"mark {marks} 600")
            await until(marks.exists)
            for pid in pids_of("test", "client", tmp_path):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: is_anew(run, "host1"), 60)
            guard = run.engine._guards["host1"]
            cancel = guard.cancel

            async def clean(attempt, *rest):
                await cancel(attempt, *rest)
                cleaned.append(attempt)

            monkeypatch.setattr(guard, "cancel", clean)
            for pid in pids_of("test", "workers", tmp_path):
                os.kill(pid, signal.SIGKILL)
            during = await run.outcome("during", 60)
            await until(lambda: cleaned)
            await run.submit("then", "sleep 0")
            return during, await run.outcome("then", 60), run.events

    during, then, events = asyncio.run(scenario())

    assert isinstance(during, Interrupted)
    assert during.cancelled
    assert cleaned == ["during"]
    assert isinstance(then, Reported)
    assert not any(isinstance(event, HostLost) for event in events)


def test_nobody_is_blamed_for_what_was_on_its_way_to_workers_that_end_with_their_dask(monkeypatch):
    monkeypatch.setattr(dispatch, "ENDED_SECONDS", 0.05)
    events, blamed = [], []

    async def cancel(*_):
        blamed.append("the worker")

    async def end(_child):
        pass

    async def scenario():
        guarded = SimpleNamespace(name="host1", reached=True, cancel=cancel, end=end, tell=lambda *_: None)
        member = Member(guarded, {"host1-0": Slot("host1-0", "tls://127.0.0.1:1", 7)}, child="workers")
        chores = Chores()
        ways = Dispatch("task", {}, DaskSettings(), chores, post=events.append, give_up=lambda *_: None)
        ways.client = lambda _message: None
        ways.submit(member, Parcel((Attempt("sent", "execution", 1, "host1"),), (b"",)))
        ways.client = None  # Dask is being started anew
        ways.slot(member, "workers", {"slot": "host1-0", "address": None, "pid": None})
        await asyncio.sleep(0.3)
        assert (events, blamed) == ([], [])
        ways.retire(member, member.move("workers-2"))
        ways.retired(member, "workers", [])
        ways.client = lambda _message: None
        await asyncio.sleep(0.3)
        await chores.stop()

    asyncio.run(scenario())

    assert [(event.attempt, event.cancelled) for event in events] == [("sent", True)]
    assert blamed == []


def test_what_jobs_have_in_common_comes_to_a_node_once_and_again_when_it_is_lost(tmp_path):
    part = os.urandom(300_000)
    name = hashlib.sha256(part).hexdigest()
    sent = []

    def lose(run):
        slots = run.engine._members["host1"].slots.values()
        killed = {slot.pid for slot in slots}
        [file] = tmp_path.glob(f"runs/*/parts/{name}")
        assert file.stat().st_size == len(part)
        file.write_bytes(b"half of it")
        for pid in killed:  # workers that have it in their memory
            os.kill(pid, signal.SIGKILL)
        return lambda: all(slot.address and slot.pid not in killed for slot in slots)

    def count(run):
        told = run.engine._guards["host1"].tell

        def tell(child, message):
            sent.append((child, len(json.dumps(message))))
            told(child, message)

        run.engine._guards["host1"].tell = tell

    async def scenario():
        async with Run(tmp_path, slots=2) as run:
            count(run)

            async def all_of(names):
                for attempt in names:
                    await run.submit(attempt, f"part {name}", parts={name: part})
                return [await run.outcome(attempt, 60) for attempt in names]

            outcomes = await all_of([f"a{number}" for number in range(10)])
            before = list(sent)
            await until(lose(run), 60)
            outcomes += await all_of(["again"])
            return outcomes, before, sent[len(before) :]

    outcomes, before, after = asyncio.run(scenario())

    assert all(isinstance(outcome, Reported) for outcome in outcomes), outcomes
    assert {outcome.report.values["size"] for outcome in outcomes} == {len(part)}
    assert [child for child, size in before if size > len(part)] == ["workers"]
    assert max(size for child, size in before if child == "client") < 1000
    assert [child for child, size in after if size > len(part)] == ["workers"]
