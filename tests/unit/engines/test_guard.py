"""The guard by itself: lease, connections, sweeper, leftovers of dead runs. Its children are a stand-in for Python."""

import glob
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import own

from timeeval.engines import attach, children, guard, sockets, sweeping

PYTHON = """#!/bin/sh
setsid sleep 600 &
sleep 600 &
while read -r line; do echo "$line"; done
"""
BEAT = 0.1


class Connection:
    """One connection to a guard: a process of `attach`, and what the driver remembers beyond it."""

    def __init__(self, args, *, sent=0, taken=0, **how):
        self.args, self.sent, self.taken = args, sent, taken
        self.process = subprocess.Popen(
            [sys.executable, "-m", "timeeval.engines.attach"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._write({**args, **how, "hello": {"do": "attach", "at": time.monotonic(), "ack": taken}})
        self.ready = self._read()

    def _write(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def tell(self, message, **more):
        """Send a numbered message; ``n`` may be one that was sent before."""
        self.sent = more.get("n", self.sent + 1)
        self._write({**message, "n": self.sent, "at": time.monotonic(), "ack": self.taken, **more})

    def beat(self, **more):
        self._write({"do": "beat", "at": time.monotonic(), "ack": self.taken, **more})

    def hear(self):
        """Return the next message that is no answer to a beat."""
        while (message := self._read()) is not None and message["is"] == "beat":
            pass
        if message is not None and message["n"] is not None:
            self.taken = message["n"]
        return message

    def echo(self, *words):
        """Tell the child what it will say."""
        for word in words:
            self.tell({"do": "tell", "child": "workers", "message": word})

    def echoed(self, count):
        """Return what the child says next."""
        return [self.hear()["message"] for _ in range(count)]

    def break_off(self):
        self.process.kill()
        self.process.wait()

    def again(self, **more):
        """Connect anew, as a driver does that remembers what it has taken."""
        known = {"sent": self.sent, "taken": self.taken, **more}
        return self.args["open"]({k: v for k, v in self.args.items() if k != "open"}, **known)


@pytest.fixture
def start(tmp_path):
    """Start guards; each is killed at the end with all its connections."""
    script = tmp_path / "python"
    script.write_text(PYTHON)
    script.chmod(0o755)
    connections = []

    def connect(args, **how):
        connection = Connection(args, **how)
        connection.args = {**args, "open": connect}
        connections.append(connection)
        return connection

    def launch(run, *, lease=20.0, linger=0.5, node="node1", state="state"):
        options = {
            "python": str(script),
            "lease": lease,
            "linger": linger,
            "beat": BEAT,
            "grace": 0.5,
            "addresses": ["192.0.2.1", "127.0.0.1"],
        }
        return connect({"run": own(run), "node": node, "state": str(tmp_path / state)}, guard=options)

    yield launch
    for connection in connections:
        connection.process.kill()
        connection.process.wait()
        for stream in (connection.process.stdin, connection.process.stdout, connection.process.stderr):
            stream.close()
    for connection in connections:
        if connection.ready is not None and connection.ready["is"] == "ready":
            sweeping.kill([connection.ready["pid"]])
            run = connection.args["run"]
            until(lambda run=run: not run_folders(tmp_path, f"**/runs/{run}@*"))  # its sweeper's last act


def spawn(connection, *, count=3):
    connection.tell({"do": "spawn", "child": "workers", "spec": {}})
    assert "parent" in connection.echoed(1)[0]
    until(lambda: len(sweeping.marked(**{sweeping.RUN_MARK: f"{connection.args['run']}@node1"})) >= count)


def marked(run, node="node1"):
    return sweeping.marked(**{sweeping.RUN_MARK: f"{own(run)}@{node}"})


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def run_folders(tmp_path, pattern):
    # Path.glob raises where a folder goes away while it looks inside; this one passes it over
    return glob.glob(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207


def folders(tmp_path):
    return run_folders(tmp_path, "state/runs/*")


def guarded(connection):
    return Path(f"/proc/{connection.ready['pid']}").exists()


def test_it_binds_to_the_first_address_that_is_its_own(start):
    connection = start("bind")

    assert connection.ready["is"] == "ready"
    assert connection.ready["address"] == "127.0.0.1"
    assert connection.ready["boot"] == sweeping.boot_id()


def test_quit_ends_everything_and_says_so(start, tmp_path):
    connection = start("quit")
    spawn(connection)
    connection.tell({"do": "quit"})

    assert [connection.hear()["is"] for _ in range(2)] == ["ending", "done"]
    assert connection.process.wait(10) == 0
    assert marked("quit") == []
    assert folders(tmp_path) == []


@pytest.mark.parametrize("end", ["silence", "terminate"])
def test_however_it_ends_it_says_why_and_leaves_nothing(start, tmp_path, end):
    connection = start("gone", lease=1.0 if end == "silence" else 20.0)
    spawn(connection)
    if end == "terminate":
        os.kill(connection.ready["pid"], signal.SIGTERM)

    said = [connection.hear(), connection.hear()]

    assert [message["is"] for message in said] == ["ending", "done"]
    assert {"silence": "silent for 1 s", "terminate": "signal 15"}[end] in said[0]["reason"]
    assert connection.process.wait(10) == 0
    assert marked("gone") == []
    assert folders(tmp_path) == []


def test_a_driver_that_hangs_up_leaves_nothing_long_before_its_lease_is_over(start, tmp_path):
    connection = start("hung-up", lease=600.0)
    spawn(connection)
    connection.beat()
    connection.process.stdin.close()

    assert connection.process.wait(10) == 0
    until(lambda: marked("hung-up") == [] and folders(tmp_path) == [])


def test_a_connection_that_ends_after_beats_were_missed_was_cut_and_the_lease_goes_on(start):
    connection = start("cut", lease=30.0, linger=0.2)
    spawn(connection)
    time.sleep(10 * BEAT)  # so many beats are missed
    connection.break_off()
    time.sleep(1.0)  # a driver that had hung up would be waited for no longer

    again = connection.again()

    assert again.ready["is"] == "ready"
    assert again.ready["pid"] == connection.ready["pid"]
    assert len(marked("cut")) == 3


def test_the_lease_of_a_cut_connection_ends(start, tmp_path):
    connection = start("over", lease=2.0)
    spawn(connection)
    time.sleep(10 * BEAT)
    connection.break_off()
    until(lambda: marked("over") == [] and folders(tmp_path) == [])

    again = connection.again(boot=sweeping.boot_id())

    assert again.ready["is"] == "done"
    assert again.ready["reason"] == "its guard had ended what ran there"


def test_what_was_said_while_nobody_heard_arrives_once_and_in_order(start):
    connection = start("order", linger=20.0)
    spawn(connection)
    connection.echo("one", "two", "three")
    assert connection.echoed(2) == ["one", "two"]
    taken = connection.taken
    connection.echo("four")
    connection.echoed(2)
    connection.break_off()

    again = connection.again(taken=taken)  # the last two never reached the driver
    again.echo("five")

    assert again.ready["ack"] == connection.sent
    assert again.echoed(3) == ["three", "four", "five"]


def test_what_is_told_twice_is_done_once(start):
    connection = start("twice", linger=20.0)
    spawn(connection)
    connection.echo("one", "two")
    assert connection.echoed(2) == ["one", "two"]
    connection.break_off()

    again = connection.again()
    for number in (2, 3):  # as a driver does that never heard that it arrived
        again.tell({"do": "tell", "child": "workers", "message": "again"}, n=number)
    again.echo("three")

    assert again.echoed(1) == ["three"]


def test_what_the_driver_has_is_kept_no_longer(start):
    connection = start("acks", linger=20.0)
    spawn(connection)
    connection.echo("one", "two")
    connection.echoed(2)
    connection.beat()
    until(lambda: connection._read()["is"] == "beat")
    connection.break_off()

    again = connection.again(taken=0)
    again.echo("three")

    assert again.echoed(1) == ["three"]


def test_the_newest_connection_counts(start):
    connection = start("newest", linger=0.2)
    spawn(connection)
    newer = connection.again()
    assert connection.hear() is None
    connection.process.wait(10)
    for _ in range(10):
        newer.beat()
        time.sleep(0.05)
    newer.echo("still here")

    assert newer.echoed(1) == ["still here"]


def test_beats_keep_the_lease(start):
    connection = start("beats", lease=1.0)
    spawn(connection)
    for _ in range(8):
        time.sleep(0.25)
        connection.beat()

    assert guarded(connection)
    assert len(marked("beats")) == 3


def test_a_beat_that_lay_in_a_buffer_prolongs_no_lease(start):
    connection = start("late", lease=2.0)
    connection.beat()
    sent = time.monotonic()
    while connection.process.poll() is None and time.monotonic() < sent + 15:
        connection.process.stdin.write(json.dumps({"do": "beat", "at": sent, "ack": 0}).encode() + b"\n")
        try:
            connection.process.stdin.flush()
        except BrokenPipeError:
            break
        time.sleep(0.1)

    assert "silent" in connection.hear()["reason"]


def test_a_new_boot_of_the_machine_is_told_as_one(start):
    connection = start("boot")
    spawn(connection)
    connection.tell({"do": "quit"})
    assert connection.process.wait(10) == 0

    again = connection.again(boot="another boot")

    assert (again.ready["is"], again.ready["reason"].startswith("it was started anew")) == ("done", True)


def test_a_killed_guard_is_replaced_by_its_sweeper(start, tmp_path):
    connection = start("killed")
    spawn(connection)
    connection.break_off()
    os.kill(connection.ready["pid"], signal.SIGKILL)

    until(lambda: marked("killed") == [] and folders(tmp_path) == [])


def test_the_death_of_a_guard_is_told_when_nothing_is_left(start, tmp_path):
    connection = start("death")
    spawn(connection)
    os.kill(connection.ready["pid"], signal.SIGKILL)

    done = connection.hear()

    assert (done["is"], done["problem"]) == ("done", "")
    assert marked("death") == []
    assert folders(tmp_path) == []


def test_the_next_start_sweeps_what_a_dead_guard_and_sweeper_left(start, tmp_path):
    connection = start("dead")
    spawn(connection)
    connection.break_off()
    below = sweeping.descendants(connection.ready["pid"], sweeping.processes())
    [sweeper] = [pid for pid in below if pid not in marked("dead")]
    os.kill(sweeper, signal.SIGKILL)
    os.kill(connection.ready["pid"], signal.SIGKILL)
    until(lambda: not guarded(connection))
    assert marked("dead") != []

    other = start("elsewhere", node="node2")
    assert other.ready["swept"] == []  # another node's folder may be shared storage

    assert start("next").ready["swept"] == [own("dead")]
    assert marked("dead") == []
    assert guarded(other)


def test_a_run_whose_containers_could_not_be_removed_is_swept_again_at_the_next_start(tmp_path, monkeypatch):
    folder = tmp_path / f"{own('left')}@node1"
    folder.mkdir()
    (folder / "guard.json").write_text(json.dumps({"run": own("left"), "pid": 1, "started": -1, "boot": "earlier"}))
    problems = iter(["no engine answers", ""])
    monkeypatch.setattr(sweeping, "remove_containers", lambda _label: (0, next(problems)))

    assert sweeping.sweep_dead(tmp_path, "node1") == []
    assert folder.exists()
    assert sweeping.sweep_dead(tmp_path, "node1") == [own("left")]
    assert not folder.exists()


def test_a_living_run_is_nobodys_leftover(start):
    connection = start("alive")
    spawn(connection)

    assert start("second").ready["swept"] == []
    assert len(marked("alive")) == 3


def test_a_childs_end_is_told_with_its_status(start):
    connection = start("ended")
    spawn(connection)
    for pid in marked("ended"):
        os.kill(pid, signal.SIGKILL)

    ended = connection.hear()

    assert (ended["is"], ended["child"], ended["status"]) == ("ended", "workers", -9)


def test_earlier_workers_take_nothing_of_others_with_them(monkeypatch, tmp_path):
    args = {"run": own("two"), "node": "node1", "state": str(tmp_path), "python": sys.executable}
    times = {"lease": 20, "linger": 1, "beat": 1, "grace": 1}
    keeper = guard.Guard({**args, **times}, None)
    left = {}
    for name in ("workers", "workers-2"):
        keeper.children[name] = children.Child(name, None, tmp_path / name)
        left[name] = subprocess.Popen(["sleep", "600"], env={sweeping.SLOT_MARK: f"{name}/node1-1"})
    removed = []
    monkeypatch.setattr(sweeping, "orphans", lambda: [p.pid for p in left.values() if p.poll() is None])
    monkeypatch.setattr(sweeping, "remove_containers", removed.append)
    try:
        keeper._clean_up_after(keeper.children["workers"])
        assert left["workers"].wait(10) == -signal.SIGKILL
        assert (left["workers-2"].poll(), removed) == (None, [])

        del keeper.children["workers"]
        keeper._clean_up_after(keeper.children["workers-2"])
        assert left["workers-2"].wait(10) == -signal.SIGKILL
        assert removed == [f"{sweeping.RUN_LABEL}={own('two')}"]
    finally:
        for process in left.values():
            process.kill()
            process.wait()


def test_only_own_processes_are_cancelled(start):
    connection = start("own")
    spawn(connection)
    connection.tell({"do": "cancel", "attempt": "a1", "slot": "node1-0", "pid": os.getpid()})

    cancelled = connection.hear()

    assert (cancelled["is"], cancelled["attempt"], cancelled["processes"]) == ("cancelled", "a1", 0)


def test_the_door_may_lie_deep(start):
    connection = start("deep", state="/".join(["a-state-folder-with-a-long-name"] * 5))
    spawn(connection)

    assert connection.ready["is"] == "ready"


def test_a_folder_of_a_run_that_exists_already_is_refused(start):
    first = start("same")
    second = start("same")

    assert guarded(first)
    assert second.ready is None
    assert "File exists" in second.process.stderr.read().decode()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda state: state.chmod(0o777), "everybody may write to"),
        (lambda state: (state / "runs").chmod(0o777), "everybody may write to"),
        pytest.param(
            lambda state: os.chown(state, 65534, 65534),
            "is not this user's own folder",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away"),
        ),
    ],
)
def test_a_folder_that_another_user_could_exchange_is_refused(start, tmp_path, harm, why):
    (tmp_path / "state" / "runs").mkdir(parents=True)
    harm(tmp_path / "state")
    refused = start("trapped")

    assert refused.ready is None
    assert why in refused.process.stderr.read().decode()
    assert list((tmp_path / "state" / "runs").iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_starts(tmp_path):
    (tmp_path / "state" / "runs").mkdir(parents=True)
    here = {"state": str(tmp_path / "state"), "run": own("full"), "node": "node1"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (guard.ROOM // 2, before[1]))
        with pytest.raises(OSError, match=r"state/runs has no room for a run: ") as caught:
            guard.begin(here)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert "make room there" in caught.value.remedy
    assert list((tmp_path / "state" / "runs").iterdir()) == []


def test_nothing_is_said_to_another_users_process_behind_the_door(tmp_path, monkeypatch):
    with sockets.listen(tmp_path):
        sockets.connect(tmp_path).close()
        somebody_else = os.getuid() + 1
        monkeypatch.setattr(sockets.os, "getuid", lambda: somebody_else)
        with pytest.raises(PermissionError, match="another user's process"):
            sockets.connect(tmp_path)


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
    assert attach.MINDS_DRIVER is True
