"""The guard by itself: lease, sweeper, leftovers of dead runs. Its children here are a stand-in for Python."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timeeval.engines import guard, sweeping

PYTHON = """#!/bin/sh
setsid sleep 600 &
sleep 600 &
exec sleep 600
"""


@pytest.fixture
def start(tmp_path):
    """Start guards; each is killed at the end."""
    script = tmp_path / "python"
    script.write_text(PYTHON)
    script.chmod(0o755)
    started = []

    def launch(run, *, lease=20.0, node="node1"):
        process = subprocess.Popen(
            [sys.executable, "-m", "timeeval.engines.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        args = {
            "run": run,
            "node": node,
            "state": str(tmp_path / "state"),
            "python": str(script),
            "lease": lease,
            "grace": 0.5,
            "addresses": ["192.0.2.1", "127.0.0.1"],
            "environment": {},
        }
        tell(process, args)
        return process, hear(process)

    yield launch
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def tell(process, message):
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def hear(process):
    line = process.stdout.readline()
    return json.loads(line) if line else None


def spawn(process, run, *, count=3):
    tell(process, {"do": "spawn", "child": "workers", "spec": {}})
    until(lambda: len(marked(run)) >= count)


def marked(run, node="node1"):
    return sweeping.marked(**{sweeping.RUN_MARK: f"{run}@{node}"})


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def folders(tmp_path):
    return list(tmp_path.glob("state/runs/*"))


def test_it_binds_to_the_first_address_that_is_its_own(start):
    _, ready = start("bind")

    assert ready["is"] == "ready"
    assert ready["address"] == "127.0.0.1"


def test_quit_ends_everything_and_says_so(start, tmp_path):
    process, _ = start("quit")
    spawn(process, "quit")
    tell(process, {"do": "quit"})

    assert [hear(process)["is"] for _ in range(2)] == ["ending", "done"]
    assert process.wait(10) == 0
    assert marked("quit") == []
    assert folders(tmp_path) == []


@pytest.mark.parametrize("end", ["silence", "hang up", "terminate"])
def test_however_the_driver_goes_nothing_is_left(start, tmp_path, end):
    process, _ = start("gone", lease=1.0 if end == "silence" else 20.0)
    spawn(process, "gone")
    if end == "hang up":
        process.stdin.close()
    if end == "terminate":
        process.terminate()

    said = [hear(process), hear(process)]

    assert [message["is"] for message in said] == ["ending", "done"]
    words = {"silence": "silent for 1 s", "hang up": "driver is gone", "terminate": "signal 15"}
    assert words[end] in said[0]["reason"]
    assert process.wait(10) == 0
    assert marked("gone") == []
    assert folders(tmp_path) == []


def test_beats_keep_the_lease(start):
    process, _ = start("beats", lease=1.0)
    spawn(process, "beats")
    for _ in range(8):
        time.sleep(0.25)
        tell(process, {"do": "beat"})

    assert process.poll() is None
    assert len(marked("beats")) == 3


def test_a_killed_guard_is_replaced_by_its_sweeper(start, tmp_path):
    process, _ = start("killed")
    spawn(process, "killed")
    process.kill()

    until(lambda: marked("killed") == [] and folders(tmp_path) == [])


def test_the_next_start_sweeps_what_a_dead_guard_and_sweeper_left(start, tmp_path):
    process, _ = start("dead")
    spawn(process, "dead")
    for pid in sweeping.descendants(process.pid, sweeping.processes()):
        if b"timeeval.engines.guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)  # the sweeper
    process.kill()
    process.wait()
    assert marked("dead") != []

    other, ready = start("elsewhere", node="node2")
    assert ready["swept"] == []  # another node's folder may be shared storage
    _, ready = start("next")

    assert ready["swept"] == ["dead"]
    assert marked("dead") == []
    assert other.poll() is None


def test_a_living_run_is_nobodys_leftover(start):
    process, _ = start("alive")
    spawn(process, "alive")
    _, ready = start("second")

    assert ready["swept"] == []
    assert len(marked("alive")) == 3


def test_a_childs_end_is_told_with_its_status(start):
    process, _ = start("ended")
    spawn(process, "ended")
    for pid in marked("ended"):
        os.kill(pid, signal.SIGKILL)

    ended = hear(process)

    assert (ended["is"], ended["child"], ended["status"]) == ("ended", "workers", -9)


def test_only_own_processes_are_cancelled(start):
    process, _ = start("own")
    spawn(process, "own")
    tell(process, {"do": "cancel", "attempt": "a1", "slot": "node1-0", "pid": os.getpid()})

    cancelled = hear(process)

    assert (cancelled["is"], cancelled["attempt"], cancelled["processes"]) == ("cancelled", "a1", 0)


def test_a_file_name_in_brackets_does_not_confuse_the_process_table(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "600"])
    try:
        assert sweeping.processes()[process.pid].parent == os.getpid()
    finally:
        process.kill()
        process.wait()


def test_the_program_is_marked_as_one_that_minds_its_driver():
    assert guard.MINDS_DRIVER is True
