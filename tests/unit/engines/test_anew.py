"""Dask started anew while attempts go on, and what jobs have in common on its way to a node."""

import asyncio
import hashlib
import json
import os
import signal

import pytest
from conftest import Run, pids_of, until

from timeeval.run.model import HostLost, Interrupted, Reported

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
