"""Bundles on this machine: each outcome is told when it is there, each can be cancelled."""

from __future__ import annotations

import asyncio
import time

import pytest

from timeeval.engines.base import Parcel
from timeeval.engines.local import LocalEngine
from timeeval.run.model import Attempt, HostUp, Outcome, Reported
from timeeval.run.packing import Packer

pytestmark = pytest.mark.usefixtures("kept_processes")


def test_each_of_a_bundle_is_told_when_it_ends_and_what_waits_can_be_cancelled(tmp_path):
    packer = Packer(tmp_path)
    mark = str(tmp_path / "go")

    def wait() -> None:
        import pathlib

        while not pathlib.Path(mark).exists():
            time.sleep(0.01)

    jobs = [packer.pack_calls([function], "call") for function in (lambda: None, wait, lambda: None)]
    attempts = [Attempt(f"r-{n}", f"k{n}", 1, "here") for n in range(3)]

    async def scenario() -> dict[str, Outcome]:
        engine = LocalEngine(1)
        told: asyncio.Queue = asyncio.Queue()
        await engine.start(told.put_nowait)
        try:
            assert isinstance(await told.get(), HostUp)
            await engine.submit(Parcel(tuple(attempts), tuple(jobs)))
            async with asyncio.timeout(60):
                first = (await told.get()).report
                await engine.cancel("r-2")  # it waits
                await asyncio.to_thread((tmp_path / "go").touch)
                rest = [(await told.get()).report for _ in range(2)]
        finally:
            await engine.stop()
        return {report.attempt: report.outcome for report in (first, *rest)}

    assert asyncio.run(scenario()) == {"r-0": Outcome.OK, "r-1": Outcome.OK, "r-2": Outcome.CANCELLED}


def test_cancelling_what_runs_leaves_the_rest_of_the_bundle(tmp_path):
    packer = Packer(tmp_path)
    mark = tmp_path / "started"

    def hang() -> None:
        mark.touch()
        time.sleep(600)

    jobs = (packer.pack_calls([hang], "call"), packer.pack_calls([lambda: None], "call"))
    attempts = (Attempt("r-0", "k0", 1, "here"), Attempt("r-1", "k1", 1, "here"))

    async def scenario() -> list[Outcome]:
        engine = LocalEngine(1)
        told: asyncio.Queue = asyncio.Queue()
        await engine.start(told.put_nowait)
        try:
            await told.get()
            await engine.submit(Parcel(attempts, jobs))
            async with asyncio.timeout(60):
                while not mark.exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.02)
                await engine.cancel("r-0")
                events = [await told.get() for _ in range(2)]
        finally:
            await engine.stop()
        assert all(isinstance(event, Reported) for event in events)
        return [event.report.outcome for event in events]

    assert asyncio.run(scenario()) == [Outcome.CANCELLED, Outcome.OK]
