"""From node to node: what comes in goes on as it came, and everyone keeps what he lacks, proven."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from provisioning.cli import group
from provisioning.errors import UsageError
from provisioning.node import codec, doors, land, landing, stream
from provisioning.node.arrival import Folder, Sorter
from provisioning.node.hop import Hop
from provisioning.node.stream import END, Frame
from provisioning.transfer import key
from provisioning.transfer.feed import Item, Throttle, frames
from provisioning.transfer.pace import Pace
from provisioning.transfer.route import RELAY_FROM, Sending, choose, rate, segments

TEXT = b"2024-01-01 00:00:00,0.5,0\n" * 40_000


@pytest.mark.parametrize("by", codec.offered())
@pytest.mark.parametrize("block", [b"", b"x", TEXT, os.urandom(5000)])
def test_blocks_come_out_as_they_went_in(by: int, block: bytes) -> None:
    used, packed = codec.pack(by, block)
    assert codec.unpack(used, packed, len(block)) == block
    if by != codec.RAW and block == TEXT:
        assert len(packed) < len(block) / 10
    if block != TEXT:
        assert (used, packed) == (codec.RAW, block)


@pytest.mark.parametrize("by", codec.offered())
def test_a_damaged_block_is_refused(by: int) -> None:
    used, packed = codec.pack(by, TEXT)
    for wrong, size in [(packed[:-7], len(TEXT)), (packed, len(TEXT) - 1), (packed, len(TEXT) + 1)]:
        with pytest.raises(ValueError, match=r"block|announced"):
            codec.unpack(used, wrong, size)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        stream.parse(b"O")
    with pytest.raises(ValueError, match="no frame"):
        stream.parse(stream.HEAD.pack(b"?", 0, 0, 0))
    with pytest.raises(ValueError, match="no frame"):
        stream.parse(stream.HEAD.pack(b"B", 0, 5, 5) + b"1234")


FILES = {
    "NAB/a.csv": b"1\n",
    "NAB/empty.csv": b"",
    "NAB/line\nbreak.csv": b"odd",
    "big.bin": random.Random(7).randbytes(3 << 19) + TEXT,
    "datasets.csv": b"index",
    "über/wörter €.csv": b"unicode",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        file = tmp_path / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "source"


def items(source: Path, **begin: int) -> list[Item]:
    def one(path: str, data: bytes) -> Item:
        return Item(0, source, path, len(data), hashlib.sha256(data).hexdigest(), begin.get(Path(path).stem, 0))

    return [one(path, data) for path, data in FILES.items()]


class Pipe:
    """What `Way` is to a `Hop`, without any SSH."""

    def __init__(self) -> None:
        self.entry, self.sink = os.pipe()
        self.source, self.answers = os.pipe()

    def end(self) -> None:
        if self.sink >= 0:
            os.close(self.sink)
            self.sink = -1

    def cut(self) -> None:
        self.end()


class Node:
    """One hop that writes down what it tells."""

    def __init__(self, target: Path, way: Pipe | None, *, by_driver: bool) -> None:
        self.target = target
        self.folder = Folder(str(target), ["datasets.csv"])
        self.folder.look(lambda _: None)
        self.told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.hop = Hop({0: self.folder}, way, by_driver, self.told.put)  # type: ignore[arg-type]

    def hears(self, key_: str) -> Any:
        while True:
            event = self.told.get(timeout=20)
            if key_ in event:
                return event[key_]


def here(target: Path) -> dict[str, bytes]:
    return {
        file.relative_to(target).as_posix(): file.read_bytes()
        for file in target.rglob("*")
        if file.is_file() and landing.CONTROL not in file.parts
    }


def test_a_chain_passes_on_what_it_receives(source: Path, tmp_path: Path) -> None:
    pipe = Pipe()
    one, two = Node(tmp_path / "1", pipe, by_driver=True), Node(tmp_path / "2", None, by_driver=False)
    stream.started(lambda: two.hop.read_from(pipe.entry), "read")
    for frame in frames(items(source), codec.offered()[0]):
        one.hop.feed(frame)
    total = sum(map(len, FILES.values()))
    assert one.hears("settled") == {"files": len(FILES), "size": total}
    assert two.hears("settled") == {"files": len(FILES), "size": total}
    assert here(one.target) == here(two.target) == FILES
    marker = landing.read_marker(str(two.target))
    assert marker is not None
    assert marker["files"].keys() == FILES.keys()
    for node in (one, two):
        assert not any(file.is_file() for file in Path(landing.stage(str(node.target))).rglob("*"))
        assert {file.stat().st_mode & 0o777 for file in node.target.rglob("*.csv")} == {0o644}


def test_a_node_that_cannot_write_still_passes_on(source: Path, tmp_path: Path) -> None:
    pipe = Pipe()
    (tmp_path / "1").write_text("a file where the folder should be")
    one, two = Node(tmp_path / "1", pipe, by_driver=True), Node(tmp_path / "2", None, by_driver=False)
    stream.started(lambda: two.hop.read_from(pipe.entry), "read")
    for frame in frames(items(source), codec.ZLIB):
        one.hop.feed(frame)
    assert "Not a directory" in one.hears("failed")
    assert two.hears("settled")["files"] == len(FILES)
    assert here(two.target) == FILES


def test_a_line_that_breaks_keeps_what_came_and_goes_on_from_there(source: Path, tmp_path: Path) -> None:
    pipe = Pipe()
    node = Node(tmp_path / "1", None, by_driver=False)
    stream.started(lambda: node.hop.read_from(pipe.entry), "read")
    sent = list(frames(items(source), codec.RAW))
    for frame in sent[:3]:
        stream.write(pipe.sink, frame.head() + frame.packed)
    pipe.end()
    assert "closed the line" in node.hears("lost")
    assert here(node.target) == {}
    again = Node(tmp_path / "1", None, by_driver=True)
    state = again.folder.state()
    staged, partial = [row[0] for row in state["staged"]], state["partial"]
    assert sorted(staged) == ["NAB/a.csv", "NAB/empty.csv", "NAB/line\nbreak.csv"]
    assert 0 < partial["big.bin"] < len(FILES["big.bin"])
    for frame in frames(items(source, a=2, big=partial["big.bin"]), codec.RAW):
        again.hop.feed(frame)
    assert again.hears("settled")["size"] == sum(map(len, FILES.values())) - 2 - len(b"odd") - partial["big.bin"]
    assert here(again.target) == FILES


def test_wrong_bytes_get_no_name(source: Path, tmp_path: Path) -> None:
    rows = items(source)
    (source / "NAB" / "a.csv").write_bytes(b"2\n")
    node = Node(tmp_path / "1", None, by_driver=True)
    for frame in frames(rows, codec.RAW):
        node.hop.feed(frame)
    assert node.hears("bad") == {"0": {"NAB/a.csv": "arrived with other bytes"}}
    assert here(node.target) == {}
    assert "NAB/a.csv" not in [row[0] for row in node.folder.state()["staged"]]


def test_a_source_that_shrinks_or_is_gone_is_noticed(source: Path, tmp_path: Path) -> None:
    rows = items(source)
    (source / "big.bin").write_bytes(b"short")
    node = Node(tmp_path / "1", None, by_driver=True)
    for frame in frames(rows, codec.RAW):
        node.hop.feed(frame)
    assert list(node.hears("bad")["0"]) == ["big.bin"]
    (source / "big.bin").unlink()
    with pytest.raises(UsageError, match=r"big\.bin cannot be read: No such file"):
        list(frames(rows, codec.RAW))


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", ""])
def test_hostile_orders_are_refused(tmp_path: Path, path: str) -> None:
    node = Node(tmp_path / "1", None, by_driver=True)
    node.hop.feed(stream.order([[0, path, 1, "x", 0]], codec.RAW))
    assert "ValueError" in node.hears("failed")
    assert not (tmp_path / "escape").exists()


def test_more_bytes_than_announced_are_refused_and_fewer_too(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "1"), [])
    sorter = Sorter({0: folder})
    sorter.order([[0, "a", 1, hashlib.sha256(b"x").hexdigest(), 0]])
    with pytest.raises(ValueError, match="1 files were announced and did not come"):
        sorter.finish()
    with pytest.raises(ValueError, match="more bytes came"):
        sorter.take(b"xy")


def test_what_a_node_has_already_is_not_written_again(source: Path, tmp_path: Path) -> None:
    first = Node(tmp_path / "1", None, by_driver=True)
    for frame in frames(items(source), codec.RAW):
        first.hop.feed(frame)
    first.hears("settled")
    inode = (tmp_path / "1" / "big.bin").stat().st_ino
    again = Node(tmp_path / "1", None, by_driver=True)
    for frame in frames(items(source), codec.RAW):
        again.hop.feed(frame)
    assert again.hears("settled") == {"files": 0, "size": 0}
    assert (tmp_path / "1" / "big.bin").stat().st_ino == inode


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path / ".ssh" / "authorized_keys"


def test_a_door_lets_one_in_and_takes_its_key_away(home: Path) -> None:
    home.write_text("ssh-ed25519 AAAA mine")  # no line end
    home.chmod(0o600)
    public = key.made().public
    door = doors.Door(public)
    try:
        mine, ours = home.read_text().splitlines()
        assert mine == "ssh-ed25519 AAAA mine"
        assert ours.startswith('restrict,expiry-time="')
        assert public in ours
        command = ours.split('command="')[1].split('"')[0].split()
        assert command[0] == sys.executable
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as visitor:
            assert visitor.stdin is not None
            assert visitor.stdout is not None
            held, source, sink = door.wait(20)
            assert home.read_text() == "ssh-ed25519 AAAA mine\n"
            assert home.stat().st_mode & 0o777 == 0o600
            assert visitor.stdout.read(len(doors.HELLO)) == doors.HELLO
            visitor.stdin.write(b"through the door")
            visitor.stdin.close()
            assert os.read(source, 100) == b"through the door"
            held.close()
            os.close(source)
            os.close(sink)
            assert visitor.wait(20) == 0
    finally:
        door.close()
    assert not Path(command[2]).parent.exists()


def test_what_a_program_that_was_killed_left_behind_is_cleared(home: Path) -> None:
    mark = f"{doors.MARK}@{socket.gethostname()}"
    stale = f'restrict,command="/usr/bin/python3 -I /tmp/{doors.MARK}-gone/join" ssh-ed25519 AAAA {mark}\n'
    others = stale.replace(mark, f"{doors.MARK}@elsewhere")
    home.write_text(stale + others)
    doors.Door(key.made().public).close()
    assert home.read_text() == others


def test_a_home_that_takes_no_key_is_told(home: Path) -> None:
    home.mkdir()
    with pytest.raises(doors.NoDoorError, match="authorized_keys cannot be written"):
        doors.Door(key.made().public)


def test_a_private_key_is_not_shown() -> None:
    pair = key.made()
    assert pair.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "PRIVATE" not in repr(pair)


MB = 1 << 20
THREE = {"n1": 60 * MB, "n2": 60 * MB, "n3": 60 * MB}


@pytest.mark.parametrize(
    ("missing", "sending", "kind", "chain"),
    [
        (THREE, Sending(), "relay", ("n1", "n2", "n3")),
        (THREE, Sending(fanout="star"), "star", ()),
        ({"n1": 60 * MB}, Sending(), "straight", ()),
        ({"n1": 60 * MB}, Sending(fanout="relay"), "straight", ()),
        (dict.fromkeys(THREE, 1000), Sending(), "straight", ()),
        (dict.fromkeys(THREE, 1000), Sending(fanout="relay"), "relay", ("n1", "n2", "n3")),
        ({**THREE, "me": MB, "n4": 0}, Sending(), "relay", ("n1", "n2", "n3")),
        ({"n1": 60 * MB, "n2": RELAY_FROM - 1}, Sending(), "straight", ()),
    ],
)
def test_the_missing_bytes_decide(missing: dict[str, int], sending: Sending, kind: str, chain: tuple[str]) -> None:
    route = choose(missing, {"me"}, sending, 8)
    assert (route.kind, route.chain) == (kind, chain)
    assert route.why.startswith(kind)
    assert "rsync" not in route.why  # what copies is decided by what has to be copied


def test_a_chain_is_cut_where_a_node_is_not_reached() -> None:
    assert segments("abcd", {"c"}) == [["a", "b"], ["c", "d"]]
    assert segments("ab", {"a", "b"}) == [["a"], ["b"]]
    assert segments("", set()) == []


@pytest.mark.parametrize(("text", "value"), [("800k", 800_000), ("5M", 5_000_000), ("1.5g", 1_500_000_000)])
def test_rates_are_read(text: str, value: int) -> None:
    assert rate(text) == value


@pytest.mark.parametrize("text", ["", "0", "fast", "-5M", "5MB", "999"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        rate(text)


@pytest.mark.parametrize("wrong", [["--bwlimit", "fast"], ["--fanout", "ring"], ["--max-uploads", "0"]])
def test_the_command_line_refuses_what_cannot_be_meant(wrong: list[str]) -> None:
    done = CliRunner().invoke(group, ["sync-datasets", *wrong])
    assert done.exit_code == 2
    assert wrong[0] in done.output


@pytest.mark.parametrize("option", [["--bwlimit", "5M"], ["--fanout", "star"], ["--max-uploads", "2"]])
def test_what_does_not_hold_for_a_registry_is_refused(tmp_path: Path, option: list[str]) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[cluster]\nname = "lab"\nhosts = ["node1"]\nresults = "/r"\n[[images]]\nname = "lab/one:1"\n')
    done = CliRunner().invoke(group, ["push-images", "--cluster", str(file), "--via", "own-registry", *option])
    assert isinstance(done.exception, UsageError)
    assert "pull from a registry" in str(done.exception)


def test_a_throttle_holds_all_senders_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", slept.append)
    throttle = Throttle(1000)
    for _ in range(3):
        throttle.take(500)
    assert slept == [0.5, 1.0, 1.5]
    Throttle(None).take(1 << 40)
    assert len(slept) == 3


def ticks(pace: Pace, name: str, into: float, out: float, *, waits: bool, seconds: int = 8) -> None:
    for second in range(seconds):
        got = into * min(second, 2) + out * max(0, second - 2)
        pace.note(name, {"got": got, "passed": out * second, "waits": waits and second > 1}, float(second))


def test_a_slow_node_is_told_from_slow_links() -> None:
    after = {"n1": "n2", "n2": "n3", "n3": "n4"}
    pace = Pace()
    pace.begin(after)
    ticks(pace, "n1", 6e6, 1e6, waits=True)
    ticks(pace, "n2", 6e6, 1e6, waits=True)
    ticks(pace, "n3", 1e6, 1e6, waits=False)
    assert pace.slowest() == "n2"
    assert pace.apart == {"n3"}
    assert pace.slowest() is None  # a third of the chain has been called slow
    alike = Pace()
    alike.begin(after)
    ticks(alike, "n1", 1.5e6, 1e6, waits=True)
    assert alike.slowest() is None


def test_frames_carry_the_whole_order_and_an_end(source: Path) -> None:
    sent = list(frames(items(source), codec.ZLIB))
    assert [frame.kind for frame in sent] == [stream.ORDER, *[stream.BLOCK] * (len(sent) - 2), END]
    assert stream.parse(sent[1].head() + sent[1].packed) == sent[1]
    assert isinstance(sent[-1], Frame)


def test_offsets_may_lie_beyond_4_gib(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.seek(5 << 30)
        file.write(b"the end")
    item = Item(0, tmp_path, "huge", (5 << 30) + 7, "0" * 64, (5 << 30) - 3)
    order, block, end = frames([item], codec.RAW)
    assert json.loads(order.unpack()) == [[0, "huge", (5 << 30) + 7, "0" * 64, (5 << 30) - 3]]
    assert (block.unpack(), end.kind) == (b"\0\0\0the end", END)


def test_a_file_larger_than_4_gib_arrives_whole_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Holes on both sides stand for what has come before: bytes travel from just before 4 GiB on."""
    size, begin = (4 << 30) + len(TEXT), (4 << 30) - (3 << 19)
    digest = "7e786dd1cfee5ac736a5d1085b1233be8d331ad04962b08109ace672ffa5e34b"  # of 4 GiB of zeros and TEXT
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "huge.csv").open("wb") as file:
        file.seek(4 << 30)
        file.write(TEXT)
    half = Path(landing.stage(str(tmp_path / "1")), land.PARTIAL, "huge.csv")
    half.parent.mkdir(parents=True)
    with half.open("wb") as file:
        file.truncate(begin)
    pipe = Pipe()
    one = Node(tmp_path / "1", None, by_driver=False)
    assert one.folder.state()["partial"] == {"huge.csv": begin}
    stream.started(lambda: one.hop.read_from(pipe.entry), "read")
    for frame in frames([Item(0, tmp_path / "source", "huge.csv", size, digest, begin)], codec.ZLIB):
        stream.write(pipe.sink, frame.head() + frame.packed)
    assert one.hears("settled") == {"files": 1, "size": size - begin}
    arrived = tmp_path / "1" / "huge.csv"
    assert arrived.stat().st_size == size
    with arrived.open("rb") as file:
        file.seek(4 << 30)
        assert file.read() == TEXT
    marker = landing.read_marker(str(tmp_path / "1"))
    assert marker is not None
    assert marker["files"]["huge.csv"][::4] == [size, digest]


@pytest.mark.parametrize("wrong", [{"got": 10**400}, {"passed": 10**400}, {"got": -1}])
def test_bytes_that_no_node_can_have_are_refused_before_speeds_are_told_from_them(wrong: dict[str, int]) -> None:
    pace = Pace()
    pace.begin({"a": "b"})
    for second in range(8):
        pace.note("a", {"got": second, "passed": 0, "waits": True}, float(second))
    with pytest.raises(ValueError, match="no number of bytes"):
        pace.note("a", {"got": 8, "passed": 0, "waits": True} | wrong, 8.0)
    assert pace.slowest() == "a"
