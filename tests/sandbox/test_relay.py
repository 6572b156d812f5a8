"""Bytes from node to node on real nodes, and what must not go wrong when one of them does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from provisioning.errors import NodeError, ProvisionError, UnreachableError
from provisioning.inventory import Cluster, load
from provisioning.launch import Session, open_session
from provisioning.resources.base import Parcel
from provisioning.sandbox.layout import FULL
from provisioning.scan import scan
from provisioning.transfer.fanout import Fanout
from provisioning.transfer.route import Sending

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox
    from provisioning.transfer.base import Arrival

MB = 1 << 20
SLOWLY = 2_000_000
"""Bytes per second: slow enough to do harm meanwhile."""


class Transfer:
    """One folder on its way to all nodes."""

    def __init__(self, sandbox: Sandbox, file: Path, source: Path, target: str) -> None:
        self.sandbox = sandbox
        self.cluster: Cluster = load(file)
        self.source, self.target = source, target
        self.arrivals: dict[str, Arrival] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.underway = threading.Event()

    def run(self, sending: Sending, lacking: tuple[str, ...] = ("node1", "node2", "node3")) -> Fanout:
        manifest = scan(self.source)
        missing = {name: tuple(entry.path for entry in manifest.entries) for name in lacking}
        parcel = Parcel("datasets", self.source, manifest, PurePosixPath(self.target), missing, ("last.bin",))
        self.arrivals, engine = {}, Fanout(sending)
        sessions: dict[str, Session] = {}
        try:
            for name in lacking:
                sessions[name] = open_session(self.cluster, self.cluster.node(name))
            engine.spread(self.cluster, [parcel], sessions, self._arrived, self._event)
        finally:
            for session in sessions.values():
                session.close()
        return engine

    def _arrived(self, arrival: Arrival) -> None:
        assert arrival.node not in self.arrivals
        self.arrivals[arrival.node] = arrival

    def _event(self, node: str, event: dict[str, Any]) -> None:
        self.events.append((node, event))
        if event.get("unit") == "B" and event["done"] > MB:
            self.underway.set()

    def meanwhile(self, harm: Callable[[], Any]) -> threading.Thread:
        """Do harm as soon as bytes flow."""

        def wait() -> None:
            assert self.underway.wait(60)
            harm()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def errors(self) -> dict[str, ProvisionError]:
        return {name: each.error for name, each in self.arrivals.items() if each.error is not None}

    def right(self, *names: str) -> bool:
        want = {entry.path: entry.sha256 for entry in scan(self.source).entries}
        find = "cd $1 && find . -type f ! -path './.timeeval*' -exec sha256sum {} +"
        for name in names:
            out = self.sandbox.node(name).exec(["sh", "-c", find, "sh", self.target]).stdout
            if {line[66:].removeprefix("./"): line[:64] for line in out.splitlines()} != want:
                return False
        return True


@pytest.fixture
def transfer(sandbox: Sandbox, cluster_file: Path, tmp_path: Path) -> Iterator[Transfer]:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number:02}.bin").write_bytes(os.urandom(MB))
    (source / "last.bin").write_bytes(b"the end")
    made = Transfer(sandbox, cluster_file, source, f"{FULL}/test-relay-{os.getpid()}")
    yield made
    sandbox.heal()
    for node in sandbox.nodes:
        node.exec(["rm", "-rf", made.target])


def keys(sandbox: Sandbox) -> set[int]:
    return {len(node.exec(["cat", "/home/bench/.ssh/authorized_keys"]).stdout.splitlines()) for node in sandbox.nodes}


def test_each_byte_leaves_the_driver_once_and_nothing_is_left_behind(transfer: Transfer, sandbox: Sandbox) -> None:
    engine = transfer.run(Sending())
    assert [route.kind for route in engine.routes] == ["relay"]
    assert transfer.errors() == {}
    assert {each.size for each in transfer.arrivals.values()} == {12 * MB + 7}
    assert transfer.right("node1", "node2", "node3")
    assert keys(sandbox) == {1}
    for node in sandbox.nodes:
        assert node.exec(["sh", "-c", "ls -d /tmp/timeeval-relay-* 2>/dev/null || :"]).stdout == ""


def test_a_node_that_dies_midway_is_named_and_the_others_complete(transfer: Transfer, sandbox: Sandbox) -> None:
    harm = transfer.meanwhile(sandbox.node("node2").kill)
    transfer.run(Sending(bwlimit=SLOWLY))
    harm.join()
    assert transfer.errors().keys() == {"node2"}
    assert isinstance(transfer.errors()["node2"], UnreachableError)
    assert transfer.right("node1", "node3")


def test_an_agent_that_is_killed_costs_its_node_alone(transfer: Transfer, sandbox: Sandbox) -> None:
    kill = ["pkill", "-KILL", "-u", "bench", "-f", "timeeval-node/1"]
    harm = transfer.meanwhile(lambda: sandbox.node("node1").exec(kill))
    transfer.run(Sending(bwlimit=SLOWLY))
    harm.join()
    assert transfer.errors().keys() == {"node1"}
    assert transfer.right("node2", "node3")
    before = sandbox.node("node1").exec(["ls", f"{transfer.target}/.timeeval-sync/stage"]).stdout.split()
    transfer.run(Sending(), ("node1",))
    assert transfer.right("node1")
    assert transfer.arrivals["node1"].files <= 13 - len(before)
    assert keys(sandbox) == {1}


def test_a_cut_of_20_seconds_is_outlived_by_the_others(transfer: Transfer, sandbox: Sandbox) -> None:
    def cut() -> None:
        sandbox.node("node2").disconnect()
        time.sleep(20)
        sandbox.node("node2").connect()

    harm = transfer.meanwhile(cut)
    transfer.run(Sending(bwlimit=SLOWLY))
    harm.join()
    assert transfer.errors().keys() <= {"node2"}
    assert transfer.right("node1", "node3")
    if transfer.errors():
        transfer.run(Sending(), ("node2",))
    assert transfer.right("node2")


def test_a_disk_that_fills_up_meanwhile_stops_no_other(transfer: Transfer, sandbox: Sandbox) -> None:
    harm = transfer.meanwhile(lambda: sandbox.node("node1").fill_disk(FULL))
    transfer.run(Sending(bwlimit=SLOWLY))
    harm.join()
    assert transfer.errors().keys() == {"node1"}
    assert "No space left" in str(transfer.errors()["node1"])
    assert transfer.right("node2", "node3")
    sandbox.node("node1").free_disk(FULL)
    transfer.run(Sending(), ("node1",))
    assert transfer.right("node1")


def test_nodes_that_let_nobody_in_are_sent_to_by_the_driver(transfer: Transfer, sandbox: Sandbox) -> None:
    file = "/home/bench/.ssh/authorized_keys"
    for node in sandbox.nodes:
        node.exec(["chown", "-R", "root:bench", "/home/bench/.ssh"])
        node.exec(["chmod", "750", "/home/bench/.ssh"])
        node.exec(["chmod", "640", file])
    try:
        transfer.run(Sending(fanout="relay"))
    finally:
        for node in sandbox.nodes:
            node.exec(["chown", "-R", "bench:bench", "/home/bench/.ssh"])
            node.exec(["chmod", "700", "/home/bench/.ssh"])
            node.exec(["chmod", "600", file])
    assert transfer.errors() == {}
    assert transfer.right("node1", "node2", "node3")


def test_a_star_of_rsyncs_is_there_for_who_asks(transfer: Transfer) -> None:
    engine = transfer.run(Sending(fanout="star", uploads=2))
    assert [route.kind for route in engine.routes] == ["star"]
    assert transfer.errors() == {}
    assert transfer.right("node1", "node2", "node3")


def test_what_does_not_fit_is_refused_before_the_first_byte(transfer: Transfer, sandbox: Sandbox) -> None:
    sandbox.node("node3").fill_disk(FULL)
    transfer.run(Sending())
    assert isinstance(transfer.errors()["node3"], NodeError)
    assert "bytes have to fit on the file system" in str(transfer.errors()["node3"])
    assert transfer.right("node1", "node2")
    assert sandbox.node("node3").exec(["ls", "-d", transfer.target], check=False).returncode != 0
