"""Results of many nodes come into one folder; names meet only with equal digests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning.errors import NodeError, ProvisionError
from provisioning.inventory import Cluster, Node
from provisioning.manifest import Entry, Manifest
from provisioning.transfer.base import Gathered
from provisioning.transfer.gather import CONTROL, Meeting, offered
from provisioning.transfer.star import Star


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    nodes = (Node("alpha", is_driver=True), Node("beta", is_driver=True))
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=nodes,
        driver=nodes[0],
        scheduler=nodes[0],
        results=PurePosixPath(tmp_path / "results"),
        state=PurePosixPath(tmp_path / "state"),
        known_hosts=tmp_path / "known_hosts",
    )


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote"
    (folder / "attempt 1").mkdir(parents=True)
    (folder / "attempt 1" / "scores.csv").write_text("0.5\n")
    (folder / "attempt 1" / "line\nbreak.log").write_text("said")
    return folder


def gather(cluster: Cluster, remote: Path, local: Path, **options: Any) -> dict[str, Gathered | ProvisionError]:
    return Star().gather(cluster, cluster.nodes, PurePosixPath(remote), local, **options)


def fetched(outcome: Gathered | ProvisionError) -> Gathered:
    assert isinstance(outcome, Gathered), outcome
    return outcome


def test_what_nodes_share_is_fetched_once_and_never_again(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    first = gather(cluster, remote, local)
    assert fetched(first["alpha"]) == Gathered(files=2, size=8)
    assert fetched(first["beta"]).files == 0
    assert (local / "attempt 1" / "scores.csv").read_text() == "0.5\n"
    assert (local / "attempt 1" / "line\nbreak.log").read_text() == "said"
    second = gather(cluster, remote, local)
    assert fetched(second["alpha"]) == Gathered(present=2)


def test_a_file_that_grew_replaces_its_earlier_state(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    gather(cluster, remote, local)
    with (remote / "attempt 1" / "scores.csv").open("a") as stream:
        stream.write("0.7\n")
    assert fetched(gather(cluster, remote, local)["alpha"]).files == 1
    assert (local / "attempt 1" / "scores.csv").read_text() == "0.5\n0.7\n"


def test_what_is_on_the_driver_already_is_not_replaced(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    (local / "attempt 1").mkdir(parents=True)
    (local / "attempt 1" / "scores.csv").write_text("mine\n")
    outcome = gather(cluster, remote, local)["alpha"]
    assert isinstance(outcome, NodeError)
    assert "attempt 1/scores.csv has other bytes here than on the driver" in str(outcome)
    assert (local / "attempt 1" / "scores.csv").read_text() == "mine\n"


def test_links_and_special_files_stay_where_they_are(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    (remote / "link").symlink_to("/etc/hostname")
    (remote / "door").symlink_to("/etc")
    os.mkfifo(remote / "pipe")
    outcome = fetched(gather(cluster, remote, tmp_path / "local")["alpha"])
    assert outcome.other == ("door", "link", "pipe")
    assert sorted(path.name for path in (tmp_path / "local").iterdir()) == [CONTROL, "attempt 1"]


def test_a_folder_that_holds_too_much_is_refused(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    outcome = gather(cluster, remote, tmp_path / "local", most=5)["alpha"]
    assert isinstance(outcome, NodeError)
    assert "holds 8 bytes, at most 5 are fetched" in str(outcome)


def test_a_folder_that_is_not_there_is_empty(cluster: Cluster, tmp_path: Path) -> None:
    assert fetched(gather(cluster, tmp_path / "nothing", tmp_path / "local")["alpha"]) == Gathered()


def test_folders_can_be_skipped(cluster: Cluster, remote: Path, tmp_path: Path) -> None:
    (remote / "scratch").mkdir()
    (remote / "scratch" / "big").write_text("x")
    assert fetched(gather(cluster, remote, tmp_path / "local", skip=["scratch"])["alpha"]).files == 2


def entry(path: str, data: bytes) -> Entry:
    return Entry(path, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def meeting(tmp_path: Path) -> Meeting:
    meeting = Meeting(tmp_path / "local", ["alpha", "beta"])
    meeting.open()
    return meeting


def test_two_nodes_with_other_bytes_under_one_name_are_an_error(meeting: Meeting) -> None:
    meeting.choose("alpha", Manifest.of([entry("scores.csv", b"1")]))
    with pytest.raises(NodeError, match=r"scores\.csv has other bytes here than on alpha"):
        meeting.choose("beta", Manifest.of([entry("scores.csv", b"2")]))


def test_two_calls_may_gather_into_one_folder(meeting: Meeting) -> None:
    other = Meeting(meeting.local, ["gamma"])
    other.open()
    for each, node in ((meeting, "alpha"), (other, "gamma")):
        (each.stage(node) / node).write_bytes(b"1")
        assert each.place(node, entry(node, b"1"))
        each.close()
    again = Meeting(meeting.local, ["alpha", "gamma"])
    again.open()
    assert [again.choose(node, Manifest.of([entry(node, b"2")]))[0] for node in ("alpha", "gamma")] == [
        [entry("alpha", b"2")],
        [entry("gamma", b"2")],
    ]


def test_what_arrives_with_other_bytes_gets_no_name(meeting: Meeting) -> None:
    wanted = entry("a/scores.csv", b"right")
    file = meeting.stage("alpha") / "a" / "scores.csv"
    file.parent.mkdir()
    file.write_bytes(b"wrong")
    assert not meeting.place("alpha", wanted)
    assert not (meeting.local / "a").exists()
    file.write_bytes(b"right")
    assert meeting.place("alpha", wanted)
    assert (meeting.local / "a" / "scores.csv").read_bytes() == b"right"


def test_a_file_is_not_placed_through_a_link(meeting: Meeting, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (meeting.local / "a").symlink_to(outside)
    file = meeting.stage("alpha") / "a" / "scores.csv"
    file.parent.mkdir()
    file.write_bytes(b"x")
    with pytest.raises(OSError, match=r"a"):
        meeting.place("alpha", entry("a/scores.csv", b"x"))
    assert list(outside.iterdir()) == []


class Hostile:
    """A session to a node that answers what it likes."""

    node = Node("mallory")

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def call(self, program: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"files": self.rows, "other": [], "changing": []}


@pytest.mark.parametrize("path", ["../../.ssh/authorized_keys", "/etc/cron.d/x", "a/./b"])
def test_a_hostile_manifest_is_an_error_of_its_node(path: str) -> None:
    with pytest.raises(NodeError, match="mallory: not a manifest"):
        offered(Hostile([[path, 1, "d"]]), {}, lambda _: None)  # type: ignore[arg-type]
