"""`check` on real nodes: nothing to say about good ones, and all that is wrong with bad ones at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.inventory import load
from provisioning.meeting import hold

if TYPE_CHECKING:
    from conftest import Commands

    from provisioning.sandbox.cluster import Sandbox
    from provisioning.sandbox.node import SandboxNode


@contextlib.contextmanager
def harm(node: SandboxNode, do: str, undo: str) -> Iterator[None]:
    node.exec(["sh", "-c", do])
    try:
        yield
    finally:
        node.exec(["sh", "-c", undo])


def check(commands: Commands, cluster_file: Path, *args: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = commands.run("timeeval-provision", "check", "--cluster", cluster_file, "--json", *args)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {row["node"]: row for row in rows if "node" in row}


def messages(row: dict[str, Any]) -> str:
    return "\n".join(f"{finding['severity']}: {finding['message']}" for finding in row["findings"])


def test_good_nodes(commands: Commands, cluster_file: Path) -> None:
    code, rows = check(commands, cluster_file)
    assert code == 0
    assert {name: row["state"] for name, row in rows.items()} == {"node1": "ok", "node2": "ok", "node3": "ok"}
    assert all("error" not in messages(row) for row in rows.values())


def test_a_node_that_is_off(sandbox: Sandbox, commands: Commands, cluster_file: Path) -> None:
    with sandbox.off("node2"):
        code, rows = check(commands, cluster_file)
    assert code == 8
    assert {name: row["state"] for name, row in rows.items()} == {
        "node1": "ok",
        "node2": "unreachable",
        "node3": "ok",
    }


def test_everything_that_is_wrong_is_said_at_once(
    sandbox: Sandbox, commands: Commands, cluster_variant: Callable[..., Path]
) -> None:
    node = sandbox.node("node3")
    cluster_file = cluster_variant(
        {'"/srv/timeeval/results"': '"/srv/full/results"', 'python = "3.11"': 'python = "3.10"'}
    )
    no_rsync = harm(node, "mv /usr/bin/rsync /usr/bin/rsync.away", "mv /usr/bin/rsync.away /usr/bin/rsync")
    no_docker = harm(node, "chmod 600 /var/run/docker.sock", "chmod 660 /var/run/docker.sock")
    deaf = harm(
        node,
        f"iptables -I INPUT -s {sandbox.node('node1').address} -j REJECT",
        f"iptables -D INPUT -s {sandbox.node('node1').address} -j REJECT",
    )
    with sandbox.full_disk("node3"), no_rsync, no_docker, deaf:
        code, rows = check(commands, cluster_file)
    said = messages(rows["node3"])
    assert code == 16
    assert rows["node3"]["state"] == "failed"
    assert "error: rsync is not installed" in said
    assert "error: has no python3.10" in said
    assert "are free for /srv/full/results" in said
    assert "docker" in said.lower()
    assert all(finding["remedy"] for finding in rows["node3"]["findings"])
    assert f"does not reach node3 at {node.address}:22" in messages(rows["node1"])
    assert "node3" not in messages(rows["node2"])


def test_the_scheduler_port_is_tried_from_every_node(sandbox: Sandbox, commands: Commands, cluster_file: Path) -> None:
    # All but what makes a login is shut on the scheduler's node, as a firewall would.
    shut = "iptables {} INPUT -p tcp --syn --dport 1024: -j REJECT"
    with harm(sandbox.node("node1"), shut.format("-I"), shut.format("-D")):
        code, rows = check(commands, cluster_file)
    assert code == 16
    for name in ("node2", "node3"):
        assert "error: does not reach the scheduler's port on node1" in messages(rows[name])
    assert "this machine does not reach the scheduler's port" in messages(rows["node1"])


def test_workers_ports_are_tried_from_the_scheduler(
    sandbox: Sandbox, commands: Commands, cluster_variant: Callable[..., Path]
) -> None:
    file = cluster_variant(append='\n[ports]\nworkers = "41000-41003"\n')
    shut = "iptables {} INPUT -p tcp --syn --dport 41000:41003 -j REJECT"
    with harm(sandbox.node("node3"), shut.format("-I"), shut.format("-D")):
        code, rows = check(commands, file)
    assert code == 16
    assert "error: the scheduler on node1 does not reach its worker's port at 172" in messages(rows["node3"])
    assert (rows["node1"]["state"], rows["node2"]["state"]) == ("ok", "ok")


def test_clocks_and_shared_folders(sandbox: Sandbox, tmp_path: Path) -> None:
    cluster = load(sandbox.cluster_file)
    found = hold(cluster, cluster.nodes, ["/srv/timeeval/data", str(tmp_path)])
    assert set(found) == {"node1", "node2", "node3", "local"}
    for node in cluster.nodes:
        seen = found[node.name]
        assert (seen.logins, seen.error, seen.unreached) == ({}, None, ())
        # One kernel, one clock: what is measured is how well it is measured.
        assert seen.offset is not None
        assert seen.round_trip is not None
        assert abs(seen.offset) <= seen.round_trip
        assert seen.shares == {}
