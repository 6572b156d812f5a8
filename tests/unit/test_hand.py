"""Small differences go over the line that holds the locks; whatever is not plain is left to those who do more."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from lone import lone

from provisioning.errors import LockedError, NodeError, ProvisionError
from provisioning.inventory import Cluster, DatasetFolder, Node
from provisioning.launch import Session
from provisioning.node import arrival, landing, take
from provisioning.plan import Job, run
from provisioning.resources.base import Parcel
from provisioning.resources.datasets import Datasets
from provisioning.scan import scan
from provisioning.transfer import hand
from provisioning.transfer.fanout import Fanout
from provisioning.transfer.relay import Relay

if TYPE_CHECKING:
    from provisioning.report import Report
    from provisioning.transfer.base import Arrival

INDEX = "collection_name,dataset_name,train_path,test_path\nc,one,,a/one.csv\n"
ODD = ["a/one.csv", "a/empty", "a/with space", "a/with\nnewline", "a/$(touch x)", "a/\u00fc\U0001f600", "b/c/-dash"]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    source = tmp_path / "source"
    for name in ODD:
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("" if name == "a/empty" else f"{name}\n")
    (source / "a" / "link.csv").symlink_to("one.csv")
    (source / "datasets.csv").write_text(INDEX)
    return lone(tmp_path, datasets=(DatasetFolder(source, PurePosixPath(tmp_path / "node")),))


@pytest.fixture
def sync(cluster: Cluster, tmp_path: Path) -> Callable[[], Report]:
    def go() -> Report:
        return run(Job(cluster, cluster.nodes, [Datasets(tmp_path / "cache")], Fanout()))

    return go


def _equal(cluster: Cluster) -> bool:
    source, target = cluster.datasets[0].source, Path(cluster.datasets[0].path)
    marker = landing.read_marker(str(target))
    assert marker is not None
    paths = sorted(marker["files"])
    return scan(source) == scan(target, paths) and len(paths) == len(ODD) + 2


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the transfers that are left to others."""
    seen: list[int] = []
    real = Relay.carry

    def carry(self: Relay, chain: Any) -> None:
        seen.append(len(self.lines))
        real(self, chain)

    monkeypatch.setattr(Relay, "carry", carry)
    return seen


def test_a_small_difference_needs_no_agent(cluster: Cluster, sync: Callable[[], Report], relays: list[int]) -> None:
    assert sync().exit_code() == 0
    assert _equal(cluster)
    (cluster.datasets[0].source / "a" / "one.csv").write_text("changed\n")
    (cluster.datasets[0].source / "a" / "link.csv").unlink()
    (cluster.datasets[0].source / "a" / "link.csv").symlink_to("empty")
    report = sync()
    assert [change.title.split(" to /")[0] for change in report.nodes[0].made] == [
        "copy 2 files, 2 of them to replace others"
    ]
    assert _equal(cluster)
    assert relays == []
    assert sync().nodes[0].state == "ok"


def test_more_than_a_little_is_left_to_the_relay(
    cluster: Cluster, sync: Callable[[], Report], relays: list[int]
) -> None:
    (cluster.datasets[0].source / "a" / "one.csv").write_bytes(os.urandom(hand.MOST_BYTES + 1))
    assert sync().exit_code() == 0
    assert _equal(cluster)
    assert relays == [1]


def test_what_comes_wrong_by_hand_comes_again_by_the_relay(
    cluster: Cluster, sync: Callable[[], Report], relays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a byte that changes in memory: the source is what it was, so it is no reason to read it again."""
    assert sync().exit_code() == 0
    (cluster.datasets[0].source / "a" / "one.csv").write_text("changed\n")
    real = hand.whole
    monkeypatch.setattr(hand, "whole", lambda item: real(item)[:-1] + b"!")
    assert sync().exit_code() == 0
    assert _equal(cluster)
    assert relays == [1]


@pytest.mark.parametrize("same", [True, False])
def test_a_folder_that_is_not_ours_is_compared_first(
    cluster: Cluster, sync: Callable[[], Report], relays: list[int], same: bool
) -> None:
    target = Path(cluster.datasets[0].path)
    (target / "a").mkdir(parents=True)
    (target / "a" / "one.csv").write_text("a/one.csv\n" if same else "somebody's own\n")
    report = sync()
    assert relays == [1]
    if same:
        assert report.exit_code() == 0
        assert _equal(cluster)
    else:
        assert "were not put there by us" in str(report.nodes[0].error)
        assert (target / "a" / "one.csv").read_text() == "somebody's own\n"


class Line:
    """The driver's side of a channel, with what it says."""

    def __init__(self, *said: bytes | dict[str, Any] | None) -> None:
        self._said = list(said)
        self.told: list[dict[str, Any]] = []

    def either(self, _timeout: float) -> bytes | dict[str, Any] | None:
        return self._said.pop(0)

    def event(self, value: dict[str, Any]) -> None:
        self.told.append(value)


def _asked(target: Path, files: dict[str, bytes]) -> dict[str, Any]:
    rows = [[path, len(data), hashlib.sha256(data).hexdigest()] for path, data in files.items()]
    return {"folders": [{"target": str(target), "last": [], "mode": 0o644, "group": None, "files": rows}]}


def test_a_beat_may_come_between_the_order_and_its_bytes(tmp_path: Path) -> None:
    line = Line({"beat": True}, zlib.compress(b"12"))
    answer = take.take(_asked(tmp_path / "t", {"a": b"1", "b/c": b"2"}), line, 1)
    assert answer == {"settled": {"files": 2, "size": 2}}
    assert ((tmp_path / "t" / "a").read_bytes(), (tmp_path / "t" / "b" / "c").read_bytes()) == (b"1", b"2")


def test_a_driver_that_goes_away_meanwhile_changes_nothing(tmp_path: Path) -> None:
    assert take.take(_asked(tmp_path / "t", {"a": b"1"}), Line({"beat": True}, None), 1) is None
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("a", zlib.compress(b"2"), "bad"),
        ("a", zlib.compress(b""), "refused"),
        ("a", zlib.compress(b"1" * 1000), "refused"),
        ("a", b"no zlib", "refused"),
        ("../a", zlib.compress(b"1"), "refused"),
        ("/etc/a", zlib.compress(b"1"), "refused"),
        ("a/../../b", zlib.compress(b"1"), "refused"),
    ],
)
def test_what_is_not_as_announced_gets_no_name(tmp_path: Path, path: str, data: bytes, why: str) -> None:
    answer = take.take(_asked(tmp_path / "t", {path: b"1"}), Line(data), 1)
    assert answer is not None
    assert list(answer) == [why]
    assert not (tmp_path / "t" / "a").exists()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("lacks", [{"free": 4096}, {"inodes": 3}, {"directory": False}])
def test_where_it_is_narrow_others_count(
    tmp_path: Path, lacks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = arrival.room
    monkeypatch.setattr(arrival, "room", lambda path: {**real(path), **lacks})
    answer = take.take(_asked(tmp_path / "t", {"a": b"1"}), Line(zlib.compress(b"1")), 1)
    assert answer is not None
    assert list(answer) == ["refused"]
    assert not (tmp_path / "t" / "a").exists()


class Scripted:
    """Locks whose holder says what a test wants."""

    host = "evil"

    def __init__(self, *says: Any, lost: bool = False) -> None:
        self.conversation = self
        self._says = list(says)
        self._lost = lost
        self.heard = 0

    def check(self) -> None:
        if self._lost:
            raise LockedError("its locks were lost", host=self.host)

    def send(self, _message: dict[str, Any]) -> None:
        self.heard += 1

    def send_piece(self, _piece: bytes) -> None:
        self.heard += 1

    def receive(self) -> Any:
        said = self._says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def _given(tmp_path: Path, held: Any) -> tuple[Arrival | None, list[Parcel]]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("1\n")
    session = Session(Node("evil", is_driver=True), 60)
    session.held = held
    parcel = Parcel("datasets", tmp_path / "source", scan(tmp_path / "source"), PurePosixPath("/t"), {"evil": ("a",)})
    arrivals: list[Arrival] = []
    left = hand.hand([parcel], {"evil": session}, arrivals.append, lambda _node, _event: None, uploads=1)
    assert len(arrivals) + len(left) == 1  # told once, or left to others
    return (arrivals[0] if arrivals else None), left


@pytest.mark.parametrize(
    "says",
    [
        {"settled": {}},
        {"settled": None},
        {"settled": {"files": "x", "size": 1}},
        {"bad": {"0": {"../../etc/passwd": "x"}}},
        {"bad": {"7": {"a": "x"}}},
        {"bad": {"zero": {}}},
        {"bad": []},
        {"what": 1},
        {},
        None,
        NodeError("its program died"),
    ],
)
def test_a_node_that_talks_nonsense_harms_itself_alone(tmp_path: Path, says: Any) -> None:
    arrival_, _ = _given(tmp_path, Scripted({"title": "compare", "done": 1, "total": 1}, says))
    assert arrival_ is not None
    assert isinstance(arrival_.error, ProvisionError)
    assert arrival_.error.host in {None, "evil"}


def test_nothing_is_sent_to_who_may_have_given_the_locks_to_others(tmp_path: Path) -> None:
    held = Scripted(lost=True)
    arrival_, _ = _given(tmp_path, held)
    assert arrival_ is not None
    assert isinstance(arrival_.error, LockedError)
    assert held.heard == 0


@pytest.mark.parametrize("held", [None, Scripted({"refused": "there is little room"})])
def test_without_locks_or_when_refused_all_is_left(tmp_path: Path, held: Any) -> None:
    arrival_, left = _given(tmp_path, held)
    assert arrival_ is None
    assert [parcel.missing for parcel in left] == [{"evil": ("a",)}]
