"""What jobs have in common comes to a machine of others' workers once, and passes there from one worker to the next."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest
from others_dask import OthersDask, Run

from timeeval.engines import joined_parts, joined_worker
from timeeval.engines.base import Parcel
from timeeval.engines.joined_client import JoinedGateway
from timeeval.run.model import Attempt, Reported
from timeeval.run.packing import encode

PART = b"what many jobs have in common"
NAME = hashlib.sha256(PART).hexdigest()


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A machine's folder for temporary files, of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def shared(temporary):
    joined_parts.put(NAME, PART)
    return temporary / f"timeeval-parts-{os.getuid()}"


def test_a_part_is_read_by_this_user_alone_and_goes_with_its_run(shared):
    assert joined_parts.take(NAME) == PART
    assert shared.stat().st_mode & 0o777 == 0o700
    assert [(file.name, file.stat().st_mode & 0o777) for file in shared.iterdir()] == [(NAME, 0o600)]
    joined_parts.drop(NAME)
    assert joined_parts.take(NAME) is None
    assert not shared.exists()


def test_what_is_not_what_it_is_called_is_not_taken(shared, tmp_path):
    (shared / NAME).write_bytes(b"another program")
    assert joined_parts.take(NAME) is None
    (shared / NAME).unlink()
    (tmp_path / "elsewhere").write_bytes(PART)
    (shared / NAME).symlink_to(tmp_path / "elsewhere")
    assert joined_parts.take(NAME) is None


def test_a_folder_that_others_may_enter_or_have_put_there_is_not_used(shared, tmp_path):
    shared.chmod(0o770)
    assert joined_parts.take(NAME) is None
    shared.chmod(0o700)
    moved = shared.rename(tmp_path / "moved")
    shared.symlink_to(moved)
    assert joined_parts.take(NAME) is None
    joined_parts.put("0" * 64, PART)
    assert [file.name for file in moved.iterdir()] == [NAME]


def test_what_killed_workers_left_is_removed_and_what_is_in_use_stays(shared):
    for name in ("left", "used"):
        (shared / name).touch()
        os.utime(shared / name, (1.0, 1.0))
    joined_parts.touch("used")
    joined_parts.put(NAME, PART)
    assert {file.name for file in shared.iterdir()} == {NAME, "used"}


HOLD = """
import sys
from timeeval.engines import joined_worker
part, *content = sys.argv[1:]
print(joined_worker.hold_part("run", part, content[0].encode() if content else None))
joined_worker._drop_parts("run") if sys.stdin.read() else None
"""


def test_a_second_worker_needs_nothing_of_the_driver_until_the_run_is_over():
    def holds(*arguments, drops=False):
        done = subprocess.run(
            [sys.executable, "-c", HOLD, *arguments],
            input="drop" if drops else "", capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    assert holds(NAME) == "False"
    assert holds(NAME, PART.decode()) == "True"
    assert holds(NAME, drops=True) == "True"
    assert holds(NAME) == "False"


def test_a_part_that_is_not_what_it_is_called_is_refused():
    with pytest.raises(ValueError, match="is not part"):
        joined_worker.hold_part("run", NAME, b"another program")


class FakeClient:
    """A Dask client whose workers hold parts as they do; some cannot see what the others of their machine have."""

    def __init__(self, blind=()):
        self.blind = blind
        self.sent = Counter()
        self.here = set()

    async def run(self, function, _run, part, content, workers):
        assert function is joined_worker.hold_part
        (worker,) = workers
        await asyncio.sleep(0)
        machine = worker.partition(":")[0]
        if content is None:
            return {worker: (machine, part) in self.here and worker not in self.blind}
        self.sent[worker] += 1
        await asyncio.sleep(0)
        self.here.add((machine, part))
        return {worker: True}


@pytest.mark.parametrize(("blind", "most"), [((), 1), (("a:2", "a:3"), 3)])
def test_a_part_is_sent_to_a_machine_once_and_to_those_who_do_not_see_it(blind, most):
    client = FakeClient(blind)

    async def scenario():
        gateway = JoinedGateway(client, None)
        workers = ["a:1", "a:2", "a:3", "b:1"]
        gateway._known = {worker: {"hostname": worker[0], "boot": "x"} for worker in workers}
        gateway._parts[NAME] = PART
        await asyncio.gather(*(gateway._provide("run", worker, [NAME]) for worker in [*workers, *workers]))

    asyncio.run(scenario())
    by_machine = Counter(worker[0] for worker in client.sent.elements())
    assert by_machine == {"a": most, "b": 1}


def test_two_workers_of_one_machine_compute_with_what_came_to_it(tmp_path):
    part = os.urandom(100_000)
    name = hashlib.sha256(part).hexdigest()
    job = encode({"kind": "test", "parts": [name]}, b"")
    others = OthersDask(tmp_path)

    async def scenario():
        async with Run(others.start(workers=2), task="engine_tasks:sizes") as run:
            attempts = [Attempt(f"a{number}", "execution", 1, "host1") for number in range(8)]
            for attempt in attempts:
                await run.engine.submit(Parcel((attempt,), (job,), {name: part}))
            return [await run.outcome(attempt.id) for attempt in attempts]

    try:
        outcomes = asyncio.run(scenario())
        (folder,) = tmp_path.glob("timeeval-parts-*")
        assert [file.name for file in folder.iterdir()] == [name]
    finally:
        others.close()
    assert all(isinstance(outcome, Reported) for outcome in outcomes), outcomes
    assert {outcome.report.values["size"] for outcome in outcomes} == {len(part)}
    assert len({outcome.report.values["pid"] for outcome in outcomes}) == 2
