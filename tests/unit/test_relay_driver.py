"""The driver's side of a transfer: nodes are believed nothing that could harm it or others."""

from __future__ import annotations

import copy
import queue
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from provisioning.errors import NodeError, UnreachableError
from provisioning.inventory import Cluster, Node
from provisioning.launch import Session
from provisioning.resources.base import Parcel
from provisioning.scan import scan
from provisioning.transfer import relay
from provisioning.transfer.fanout import Fanout
from provisioning.transfer.route import Sending

if TYPE_CHECKING:
    from provisioning.transfer.base import Arrival

READY = {
    "codecs": [0],
    "folders": {
        "0": {
            "staged": [],
            "partial": {},
            "foreign": False,
            "room": {"device": 1, "free": 1 << 40, "inodes": -1},
        }
    },
}


class Scripted:
    """A node whose agent says what a test wants; it is its own session and conversation."""

    held = None

    def __init__(self, *says: dict[str, Any], ready: Any = READY) -> None:
        self.node = Node("evil")
        self._says: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._says.put({"ready": ready})
        self._after_round = says
        self.heard: list[str] = []

    def open(self, program: str, args: dict[str, Any]) -> Scripted:
        assert program == "provisioning.node.relay"
        assert set(args) == {"folders"}
        return self

    def send(self, message: dict[str, Any]) -> None:
        self.heard.append(message["do"])
        if message["do"] == "round":
            for event in self._after_round:
                self._says.put(event)
        elif message["do"] == "stop":
            self._says.put({"stopped": READY["folders"]})
        elif message["do"] == "end":
            self._says.put(None)

    def send_piece(self, piece: bytes) -> None:
        assert piece

    def receive(self) -> Any:
        event = self._says.get(timeout=30)
        if isinstance(event, Exception):
            raise event
        return event

    def close(self) -> None:
        self._says.put(None)


@pytest.fixture
def spread(tmp_path: Path) -> Callable[..., dict[str, Arrival]]:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.csv").write_text(f"{number}\n" * 1000)
    good = Node("good", is_driver=True)
    cluster = Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(good, Node("evil")),
        driver=good,
        scheduler=good,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
    )

    def go(evil: Scripted, *others: Scripted) -> dict[str, Arrival]:
        manifest = scan(source)
        names = ["good", *(node.node.name for node in (evil, *others))]
        paths = tuple(entry.path for entry in manifest.entries)
        target = tmp_path / "target"
        parcel = Parcel("datasets", source, manifest, PurePosixPath(target), dict.fromkeys(names, paths))
        arrivals: dict[str, Arrival] = {}
        sessions = {"good": Session(good, 60), **{node.node.name: node for node in (evil, *others)}}

        def arrived(arrival: Arrival) -> None:
            assert arrival.node not in arrivals
            arrivals[arrival.node] = arrival

        Fanout(Sending()).spread(cluster, [parcel], sessions, arrived, lambda _node, _event: None)  # type: ignore[arg-type]
        assert arrivals["good"].error is None
        assert scan(target, paths) == manifest
        return arrivals

    return go


@pytest.mark.parametrize(
    "says",
    [
        {"bad": {"0": {"../../etc/passwd": "x"}}},
        {"bad": {"0": {"/etc/passwd": "x"}}},
        {"bad": {"7": {"0.csv": "x"}}},
        {"bad": {"zero": {}}},
        {"bad": []},
        {"settled": {}},
        {"settled": None},
        {"tick": {"done": "many"}},
        {"tick": [1]},
        {"failed": "x"},
        {"gone": "x"},
        {"source": "x"},
        {"credit": "many"},
        {"credit": None},
    ],
)
def test_a_node_that_talks_nonsense_harms_itself_alone(
    spread: Callable[..., dict[str, Arrival]], says: dict[str, Any]
) -> None:
    error = spread(Scripted(says))["evil"].error
    assert isinstance(error, NodeError)
    assert "makes no sense" in error.message
    assert error.host == "evil"


@pytest.mark.parametrize("ready", [None, {}, {"codecs": [0], "folders": {}}, {"codecs": "x", "folders": {"0": 1}}])
def test_a_node_that_begins_with_nonsense_is_left_out(spread: Callable[..., dict[str, Arrival]], ready: Any) -> None:
    assert spread(Scripted(ready=ready))["evil"].error is not None


@pytest.mark.parametrize(
    ("lacks", "why"), [({"free": 9_000}, r"bytes have to fit .* 9000 are free"), ({"inodes": 20}, "20 inodes are free")]
)
def test_what_does_not_fit_is_refused_before_the_first_byte(
    spread: Callable[..., dict[str, Arrival]], lacks: dict[str, int], why: str
) -> None:
    ready = copy.deepcopy(READY)
    ready["folders"]["0"]["room"].update(lacks)  # type: ignore[index]
    evil = Scripted(ready=ready)
    error = spread(evil)["evil"].error
    assert isinstance(error, NodeError)
    assert re.search(why, error.message)
    assert "nothing was sent" in str(error.remedy)
    assert "round" not in evil.heard


def test_what_comes_wrong_twice_is_an_error_of_the_node(spread: Callable[..., dict[str, Arrival]]) -> None:
    again = {"bad": {"0": {"0.csv": "arrived with other bytes"}}}
    evil = Scripted(again)
    error = spread(evil)["evil"].error
    assert "1 files for" in str(error)
    assert "e.g. 0.csv: arrived with other bytes" in str(error)
    assert evil.heard.count("round") == 2


def test_a_node_that_is_lost_is_named_with_its_cause(spread: Callable[..., dict[str, Arrival]]) -> None:
    lost = UnreachableError("the connection was lost", host="evil", remedy="run the command again")
    assert spread(Scripted(lost))["evil"].error is lost  # type: ignore[arg-type]


def test_a_node_that_fails_says_why(spread: Callable[..., dict[str, Arrival]]) -> None:
    error = spread(Scripted({"failed": "No space left on device", "remedy": None}))["evil"].error
    assert str(error) == "evil: No space left on device; mend that, then run the command again"


class Late(Scripted):
    """A node that is done only when another has heard some words more."""

    def __init__(self, other: Scripted) -> None:
        super().__init__()
        self.node = Node("late")
        self._other = other

    def send(self, message: dict[str, Any]) -> None:
        super().send(message)
        if message["do"] == "alive" and self._other.heard.count("alive") > 3:
            self._says.put({"settled": {"files": 5, "size": 10_000}})


def test_who_has_failed_is_kept_alive_to_pass_on(
    spread: Callable[..., dict[str, Arrival]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "ALIVE_SECONDS", 0.05)
    evil = Scripted({"failed": "No space left on device", "remedy": None})
    arrivals = spread(evil, Late(evil))
    assert arrivals["late"].error is None
    assert "No space left" in str(arrivals["evil"].error)
