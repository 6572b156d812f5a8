"""A run on a Dask that somebody else started, with Dask's own commands on the loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from others_dask import OthersDask, Run

from timeeval.cluster import joining
from timeeval.engines.joined_depot import JoinedDepot
from timeeval.engines.joined_link import Link, Scheduler
from timeeval.errors import EngineError
from timeeval.run import layout
from timeeval.run.collected import Collect
from timeeval.run.model import HostLost, HostUp, Interrupted, Reported

EVERYONE = {"scheduler", "worker0"}


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OthersDask, Scheduler]]:
    dask = OthersDask(tmp_path_factory.mktemp("others"), tls=True)
    yield dask, dask.start()
    left = dask.living()
    dask.close()
    assert left == EVERYONE, "somebody else's processes were ended"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[OthersDask, Scheduler]]:
    dask = OthersDask(tmp_path)
    yield dask, dask.start()
    dask.close()


def test_attempts_are_reported_one_by_one_and_nothing_foreign_is_loaded(
    encrypted: tuple[OthersDask, Scheduler], tmp_path: Path
) -> None:
    async def scenario() -> tuple[Run, list[Any]]:
        async with Run(encrypted[1]) as run:
            await run.submit(("a", "sleep 0"), ("b", "sleep 0"))
            await run.submit(("c", "standing"))
            await run.submit(("d", "raise boom"))
            await run.submit(("e", "garbage"))
            return run, [await run.outcome(name) for name in "abcde"]

    run, outcomes = asyncio.run(scenario())
    assert run.events[0] == HostUp("host1", 2)
    assert [type(outcome) for outcome in outcomes] == [Reported, Reported, Reported, Interrupted, Interrupted]
    assert "exception instead of a report" in outcomes[3].reason
    assert "is no report" in outcomes[4].reason


def test_a_killed_worker_interrupts_what_ran_on_it_and_is_used_again_when_it_is_back(
    encrypted: tuple[OthersDask, Scheduler],
) -> None:
    async def scenario() -> list[Any]:
        async with Run(encrypted[1]) as run:
            await run.submit(("long", "sleep 600"))
            await run.submit(("die", "die"))
            ended = [await run.outcome("die"), await run.outcome("long")]
            await run.wait_for(lambda event: isinstance(event, HostLost))
            run.events.clear()
            await run.wait_for(lambda event: event == HostUp("host1", 2))
            await run.submit(("next", "sleep 0"))
            return [*ended, await run.outcome("next")]

    died, also, following = asyncio.run(scenario())
    assert [died.cancelled, also.cancelled] == [False, False]
    assert isinstance(following, Reported)


def test_a_lost_scheduler_loses_the_hosts_in_bounded_time(plain: tuple[OthersDask, Scheduler]) -> None:
    dask, scheduler = plain

    async def scenario() -> tuple[Any, Any]:
        async with Run(scheduler) as run:
            await run.submit(("long", "sleep 2"))
            dask.processes["scheduler"].send_signal(signal.SIGKILL)
            lost = await run.wait_for(lambda event: isinstance(event, HostLost))
            outcome = await run.outcome("long")
            await run.submit(("late", "sleep 0"))
            assert isinstance(await run.outcome("late"), Interrupted)
            return lost, outcome

    lost, outcome = asyncio.run(scenario())
    assert lost.host == "host1"
    assert f"the Dask scheduler {scheduler.address} was lost" in lost.reason
    assert isinstance(outcome, Interrupted)
    assert dask.processes["worker0"].poll() in {None, 0}, "without its scheduler it may end by itself, not by a signal"


def test_files_come_home_in_pieces_and_links_do_not(encrypted: tuple[OthersDask, Scheduler], tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    secret = tmp_path / "secret"
    secret.write_text("not yours")

    async def machine_and_mode() -> tuple[str, int]:
        async with Run(encrypted[1], results=there) as run:
            assert run.engine.results_dir(here) == there
            return run.machine, there.stat().st_mode & 0o777

    machine, mode = asyncio.run(machine_and_mode())
    assert mode == 0o700
    files = layout.work_dir(there, "r-1")
    (files / "deep").mkdir(parents=True)
    (files / "deep" / "large").write_bytes(large := os.urandom(9 << 20))
    (files / "metrics.csv").touch()
    (files / "link").symlink_to(secret)
    os.mkfifo(files / "fifo")
    outcome = layout.outcome_file(there, "r-2")
    outcome.parent.mkdir()
    outcome.write_text("{}")

    depot = JoinedDepot(encrypted[1], {"host1": machine, "gone": "other"}, there, here)
    some = depot.fetch("host1", {"r-1": []}, Collect.SCORES, [])
    assert (some.files, some.failed) == (1, {})
    brought = depot.fetch("host1", {"r-1": ["metrics.csv"], "r-9": []}, Collect.ALL, [])
    assert (brought.files, brought.size) == (1, len(large))
    assert "r-9 is not there" in brought.failed["r-9"]
    home = layout.work_dir(here, "r-1")
    assert (home / "deep" / "large").read_bytes() == large
    assert {path.name for path in home.rglob("*") if not path.is_dir()} == {"large", "metrics.csv"}
    depot.outcomes("host1", ["r-2", "r-3"])
    assert layout.outcome_file(here, "r-2").read_text() == "{}"
    assert outcome.exists()
    depot.fetch("host1", {}, Collect.ALL, ["r-2"])
    assert not outcome.exists()
    with pytest.raises(EngineError, match="gone: it has no Dask worker any more"):
        depot.fetch("gone", {"r-1": []}, Collect.ALL, [])
    depot.close()
    assert not there.exists(), "what came home is removed there"
    with pytest.raises(EngineError, match="stopped"):
        depot.fetch("host1", {}, Collect.ALL, [])


def test_a_stranger_to_the_authority_is_told_so(encrypted: tuple[OthersDask, Scheduler], tmp_path: Path) -> None:
    other = OthersDask(tmp_path, tls=True)
    scheduler = Scheduler(encrypted[1].address, **other.files)
    with pytest.raises(EngineError, match=r"cannot be used.*certificates"):
        asyncio.run(Link(scheduler, lambda _message: None).start())


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("tcp://192.0.2.7:8786", "is not encrypted"),
        ("tcp://cluster.example:8786", "is not encrypted"),
        ("tls://192.0.2.7:8786", "--tls-ca, --tls-cert, --tls-key"),
        ("192.0.2.7:8786", "no address of a Dask scheduler"),
        ("ws://127.0.0.1:8786", "no address of a Dask scheduler"),
        ("tcp://127.0.0.1", "no address of a Dask scheduler"),
        ("tcp://127.0.0.1:port", "no address of a Dask scheduler"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(address: str, text: str) -> None:
    with pytest.raises(EngineError, match=text):
        Scheduler(address).check()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_the_loopback_needs_no_encryption(address: str) -> None:
    Scheduler(address).check()


# --- hosts as workers tell of them ----------------------------------------------------------------------------------


def greeting(hostname: str, boot: str = "b", error: str = "") -> dict[str, Any]:
    return {"hostname": hostname, "boot": boot, "error": error, "threads": 1}


def test_workers_are_told_apart_by_host() -> None:
    workers = {
        "tls://10.0.0.1:1": greeting("n1"),
        "tls://10.0.0.1:2": greeting("n1"),
        "tls://10.0.0.2:1": greeting("n2", "c"),
        "tls://10.0.0.3:1": greeting("pod", "d"),
        "tls://10.0.0.4:1": greeting("pod", "e"),
    }
    assert joining._hosts(workers).keys() == {"n1", "n2", "pod@tls://10.0.0.3:1", "pod@tls://10.0.0.4:1"}
    assert joining._chosen(joining._hosts(workers), ["n[1-2]"], ["n2"]).keys() == {"n1"}
