"""What containers consumed: found by their control groups, read when their first process ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from timeeval.adapters.docker import usage
from timeeval.adapters.docker.usage import Counters, Usage, metered, reached, taken

ID = "3f" * 32
V1_MEMBERSHIPS = f"""9:memory:/docker/{ID}
4:cpu,cpuacct:/docker/{ID}
1:name=systemd:/docker/{ID}
0::/
"""
V1_MOUNTS = """30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 30 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 30 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_version_1_is_found_through_what_is_mounted_here():
    found = Counters.of(ID, V1_MEMBERSHIPS, V1_MOUNTS.format(root="/docker"))
    assert found == Counters(
        Path(f"/sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpuacct.usage"),
        Path(f"/sys/fs/cgroup/memory/{ID}/memory.max_usage_in_bytes"),
        kills=Path(f"/sys/fs/cgroup/memory/{ID}/memory.oom_control"),
    )


def test_a_mount_that_shows_another_part_of_the_tree_says_nothing():
    found = Counters.of(ID, V1_MEMBERSHIPS, V1_MOUNTS.format(root="/user"))
    assert found is not None
    assert found.cpu is not None
    assert found.memory is None


@pytest.mark.parametrize("has_peak", [True, False])
def test_version_2_is_the_group_of_the_whole_container(tmp_path, has_peak):
    group = tmp_path / "system.slice" / f"docker-{ID}.scope"
    (group / "init").mkdir(parents=True)
    if has_peak:
        (group / "memory.peak").touch()
    mounts = f"41 30 0:38 / {tmp_path} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
    found = Counters.of(ID, f"0::/system.slice/docker-{ID}.scope/init\n", mounts)
    mark = group / "memory.peak" if has_peak else None
    assert found == Counters(group / "cpu.stat", mark, group / "memory.current", group / "memory.events")


def test_a_process_of_somebody_else_with_that_number_is_not_looked_at():
    assert Counters.of("4e" * 32, V1_MEMBERSHIPS, V1_MOUNTS.format(root="/")) is None


def test_several_containers_are_one_consumption():
    assert Usage(1.5, 10).then(Usage(2.0, 7)) == Usage(3.5, 10)
    assert Usage(1.5, 10).then(Usage(None, 7)) == Usage(None, 10)


@pytest.fixture(autouse=True)
def _nothing_noted():
    taken()  # other tests run containers in this process, and ask for nothing


@pytest.fixture
def process():
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu": "1500000000\n", "memory": "4096\n"}, Usage(1.5, 4096)),
        ({"cpu": "usage_usec 2500000\nuser_usec 1\n", "memory_now": "8192\n"}, Usage(2.5, 8192)),
        ({"memory": "4096\n"}, Usage(None, 4096)),
    ],
)
def test_counters_are_read_when_the_first_process_ends(tmp_path, monkeypatch, process, files, expected):
    for name in files:
        (tmp_path / name).write_text("0\n")
    counters = Counters(*(tmp_path / name if name in files else None for name in ("cpu", "memory", "memory_now")))
    monkeypatch.setattr(Counters, "of", lambda *_: counters)
    assert taken() is None
    with metered(ID, {"Pid": process.pid}):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        process.stdin.close()
        process.wait(30)
    assert taken() == expected
    assert taken() is None


def test_where_the_engine_was_faster_the_latest_look_counts(tmp_path, monkeypatch, process):
    (tmp_path / "cpu").write_text("1500000000\n")
    (tmp_path / "memory").write_text("4096\n")
    monkeypatch.setattr(Counters, "of", lambda *_: Counters(tmp_path / "cpu", tmp_path / "memory"))
    with metered(ID, {"Pid": process.pid}):  # looks once at the start
        for gone in ("cpu", "memory"):
            (tmp_path / gone).write_text("")
        process.stdin.close()
        process.wait(30)
    assert taken() == Usage(1.5, 4096)


@pytest.mark.parametrize(
    ("text", "out_of_memory"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", True),  # version 1
        ("low 0\nhigh 0\nmax 41\noom 3\noom_kill 2\noom_group_kill 0\n", True),  # version 2
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
        ("", False),
    ],
)
def test_kills_at_the_limit_of_memory_are_counted_by_the_kernel(tmp_path, monkeypatch, process, text, out_of_memory):
    (tmp_path / "kills").write_text("oom_kill 0\n")
    monkeypatch.setattr(Counters, "of", lambda *_: Counters(None, None, kills=tmp_path / "kills"))
    with metered(ID, {"Pid": process.pid}) as kills:
        (tmp_path / "kills").write_text(text)
        process.stdin.close()
        process.wait(30)
    assert kills.out_of_memory is out_of_memory


def test_a_container_that_is_not_seen_from_here_is_unknown_and_not_zero(process):
    for state in ({}, {"Pid": 0}, {"Pid": process.pid}, {"Pid": 2**22 + 1}):
        with metered(ID, state) as kills:
            pass
        assert not kills.out_of_memory
        assert taken() == Usage(None, None)


@pytest.mark.parametrize(("seen", "known"), [("4096", 1 << 20), ("", 1 << 20), (str(2 << 20), 2 << 20)])
def test_who_was_killed_at_its_limit_had_that_whatever_was_seen(tmp_path, monkeypatch, process, seen, known):
    (tmp_path / "memory").write_text(seen)
    monkeypatch.setattr(Counters, "of", lambda *_: Counters(None, tmp_path / "memory"))
    with metered(ID, {"Pid": process.pid}):
        process.stdin.close()
    reached(1 << 20)
    assert taken() == Usage(None, known)


def test_nothing_is_left_open(tmp_path, monkeypatch, process):
    (tmp_path / "cpu").write_text("1\n")
    monkeypatch.setattr(Counters, "of", lambda *_: Counters(tmp_path / "cpu", None))
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with metered(ID, {"Pid": process.pid}):
        assert len(list(descriptors.iterdir())) > before
    assert len(list(descriptors.iterdir())) == before
    assert usage.taken() == Usage(1e-9, None)
