import copy
import dataclasses
import socket
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning.errors import UnreachableError
from provisioning.inventory import Cluster, DatasetFolder, Environment, Image, Limits, Node, Ports
from provisioning.meeting import Attendance, hold
from provisioning.node import meet, observe_access, observe_host
from provisioning.resources.access import Access, Together
from provisioning.resources.base import Finding
from provisioning.resources.host import GIB, Host, managed_paths

NODES = (Node("n1", slots=2), Node("n2"), Node("n3"))
LOCAL = Node("local", is_driver=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=NODES,
        driver=LOCAL,
        scheduler=NODES[0],
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
        datasets=(DatasetFolder(tmp_path, PurePosixPath("/srv/data")),),
        environment=Environment(PurePosixPath("/srv/env"), "3.11"),
        images=(Image("demo/x:1"),),
    )


def host(name: str, **changes: Any) -> dict[str, Any]:
    room = {"exists": True, "directory": True, "nearest": "/srv", "writable": True, "free": 50 * GIB, "inodes": 10**6}
    return {
        "hostname": name,
        "machine_id": f"id-of-{name}",
        "boot_id": f"boot-of-{name}",
        "namespaces": ["pid:[1]", "net:[1]", "uts:[1]"],
        "user": "bench",
        "machine": "x86_64",
        "libc": ["glibc", "2.36"],
        "wanted_python": {"minor": "3.11", "executable": "/usr/bin/python3.11"},
        "cores": 4,
        "memory": {"total": 8 * GIB, "available": 7 * GIB, "swap": 0},
        "rsync": "3.2.7",
        "logout": None,
        "docker": {"version": "20.10", "limits_memory": True, "root": "/var/lib/docker", "room": dict(room)},
        "rooms": {"/srv/data": dict(room)},
        **changes,
    }


def findings(cluster: Cluster, hosts: Mapping[str, dict[str, Any]]) -> dict[str, tuple[Finding, ...]]:
    resource = Host()
    desired = resource.desired(cluster, {name: {"host": facts} for name, facts in hosts.items()}, None)
    found = {}
    for node in cluster.nodes:
        difference = resource.difference(cluster, node, hosts[node.name], desired)
        assert difference.changes == ()
        found[node.name] = difference.findings
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_id": 3},
        {"libc": []},
        {"libc": "glibc"},
        {"machine": None},
        {"machine_id": ["a"]},
        {"namespaces": None},
        {"namespaces": [{}]},
        {"rooms": {"/srv": 1}},
    ],
)
def test_a_host_that_cannot_be_compared_is_known_before(changes: dict[str, Any]) -> None:
    assert Host().sensible(host("n1"))
    assert Host().sensible(host("n1", boot_id=None, machine_id=None, namespaces=[None]))
    assert not Host().sensible(host("n1", **changes))


def three(**changes: Any) -> dict[str, dict[str, Any]]:
    """Three good hosts, the second with changes."""
    return {name: host(name, **(changes if name == "n2" else {})) for name in ("n1", "n2", "n3")}


def test_good_hosts_have_no_findings(cluster: Cluster) -> None:
    assert findings(cluster, three()) == {"n1": (), "n2": (), "n3": ()}


@pytest.mark.parametrize(
    ("changes", "severity", "message", "remedy"),
    [
        ({"rsync": None}, "error", "rsync is not installed", "apt-get install rsync"),
        (
            {"logout": {"message": "logind ends it", "remedy": "loginctl enable-linger bench"}},
            "warning",
            "logind ends it, so a cut of the network ends what runs there and it drives no run",
            "loginctl enable-linger bench",
        ),
        ({"docker": {"error": "not reached", "remedy": "start it"}}, "error", "not reached", "start it"),
        ({"wanted_python": {"minor": "3.11", "executable": None}}, "error", "no python3.11", "apt-get"),
        ({"cores": 0}, "warning", "1 experiments at a time on 0 cores", "fewer slots"),
        ({"memory": {"total": GIB // 4}}, "warning", "256 MiB of memory", "fewer slots"),
        ({"machine": "aarch64"}, "warning", "is aarch64 with glibc, most are x86_64 with glibc", "compare"),
        ({"machine_id": "id-of-n1"}, "warning", "has the machine-id of n1", "systemd-machine-id-setup"),
        ({"boot_id": "boot-of-n1"}, "error", "is the same machine as n1", "name it once"),
    ],
)
def test_what_is_wrong_with_a_host_is_told_with_its_remedy(
    cluster: Cluster, changes: dict[str, Any], severity: str, message: str, remedy: str
) -> None:
    found = findings(cluster, three(**changes))["n2"]
    assert [finding.severity for finding in found] == [severity]
    assert message in found[0].message
    assert remedy in found[0].remedy
    assert (found[0].node, found[0].resource) == ("n2", "host")


@pytest.mark.parametrize(
    ("changes", "severity", "message"),
    [
        ({"writable": False}, "error", "bench cannot write to /srv"),
        ({"directory": False}, "error", "/srv is not a folder"),
        ({"free": 100 << 20}, "error", "only 100 MiB are free for /srv/data"),
        ({"free": GIB}, "warning", "only 1.0 GiB are free for /srv/data"),
        ({"inodes": 10}, "error", "only 10 inodes are free"),
        ({"inodes": 5000}, "warning", "only 5000 inodes are free"),
        ({"inodes": -1}, None, ""),
    ],
)
def test_room(cluster: Cluster, changes: dict[str, Any], severity: str | None, message: str) -> None:
    hosts = three()
    hosts["n2"] = copy.deepcopy(hosts["n2"])
    hosts["n2"]["rooms"]["/srv/data"].update(changes)
    found = findings(cluster, hosts)["n2"]
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])
    assert all(message in finding.message for finding in found)


def test_all_findings_come_at_once(cluster: Cluster) -> None:
    found = findings(cluster, three(rsync=None, cores=0, docker={"error": "x", "remedy": "y"}))["n2"]
    assert len(found) == 3


def test_a_driver_that_is_another_machine(cluster: Cluster) -> None:
    driver = dataclasses.replace(NODES[1], is_driver=True)
    here = dataclasses.replace(cluster, nodes=(NODES[0], driver, NODES[2]))
    assert findings(here, three())["n2"] == ()
    assert findings(here, three(hostname="n2.lab"))["n2"] == ()
    found = findings(here, three(hostname="laptop"))["n2"]
    assert [finding.severity for finding in found] == ["warning"]
    assert "this machine's own name is laptop" in found[0].message


def test_without_images_nobody_needs_docker(cluster: Cluster) -> None:
    hosts = three(docker={"error": "not reached", "remedy": "start it"})
    assert findings(dataclasses.replace(cluster, images=()), hosts)["n2"] == ()


def test_a_real_observation_is_what_the_host_expects(cluster: Cluster) -> None:
    seen = observe_host.observe({"paths": managed_paths(cluster), "python": "3.11"})
    assert set(host("n1")) <= set(seen)
    assert set(seen["rooms"]) == {"/srv/results", "/srv/state", "/srv/data", "/srv/env"}
    hosts = {name: {**seen, "boot_id": name, "machine_id": name} for name in ("n1", "n2", "n3")}
    assert all(finding.remedy for rows in findings(cluster, hosts).values() for finding in rows)
    assert observe_access.observe({})["user"] == seen["user"]


def together(**seen: Attendance) -> Together:
    return Together({"local": Attendance(), **seen}, 0.0)


def access(cluster: Cluster, node: Node, desired: Together) -> tuple[Finding, ...]:
    return Access().difference(cluster, node, {"user": "bench"}, desired).findings


@pytest.mark.parametrize(
    ("offset", "round_trip", "severity"),
    [(0.5, 0.01, None), (-3.0, 0.01, "warning"), (40.0, 0.01, "error"), (1.5, 2.0, None)],
)
def test_clocks(cluster: Cluster, offset: float, round_trip: float, severity: str | None) -> None:
    found = access(cluster, NODES[0], together(n1=Attendance(offset=offset, round_trip=round_trip)))
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])
    assert all("its clock is" in finding.message for finding in found)


def test_what_a_meeting_shows_is_told(cluster: Cluster) -> None:
    seen = Attendance(
        logins={"asyncssh": UnreachableError("no", host="n1", remedy="do this")},
        unreached=(("n2", "10.0.0.2:22", "No route to host"), ("n3", "10.0.0.3:22", "No route to host")),
        shares={"/srv/data": ("n2", "n3")},
    )
    found = access(cluster, NODES[0], together(n1=seen))
    assert [finding.message for finding in found] == [
        "asyncssh cannot log in: no",
        "does not reach n2 at 10.0.0.2:22, n3 at 10.0.0.3:22: No route to host",
        "shares /srv/data with n[2-3] (logged in as bench)",
    ]
    assert [finding.severity for finding in found] == ["error", "error", "warning"]
    assert access(cluster, NODES[2], together(n1=seen)) == ()


def test_a_folder_that_takes_no_file_although_its_mode_says_so(cluster: Cluster) -> None:
    seen = Together({"n1": Attendance(unwritable=("/srv/data",))}, 0.0, {"n1": ("/srv/data",)})
    found = access(cluster, NODES[0], seen)
    assert [finding.message for finding in found] == [
        "bench cannot make a file in /srv/data although its mode allows it"
    ]


def test_no_file_can_be_made_where_nobody_may(cluster: Cluster) -> None:
    alone = dataclasses.replace(cluster, nodes=(LOCAL,), scheduler=LOCAL, datasets=(), environment=None)
    alone = dataclasses.replace(alone, results=PurePosixPath("/proc/results"), state=PurePosixPath("/tmp/state"))

    def refusing(writable: bool) -> Mapping[str, tuple[str, ...]]:
        facts = {"local": {"host": {"rooms": {"/proc/results": {"writable": writable}}}}}
        return Access().desired(alone, facts, None).refusing

    assert refusing(writable=True) == {"local": ("/proc/results",)}
    assert refusing(writable=False) == {"local": ()}


def test_a_scheduler_that_the_driver_does_not_reach(cluster: Cluster) -> None:
    blocked = Together({"local": Attendance(unreached=(("x", "10.0.0.1:8786", "timed out"),)), "n1": Attendance()}, 0.0)
    assert "does not reach the scheduler's port at 10.0.0.1:8786" in access(cluster, NODES[0], blocked)[0].message
    assert access(cluster, NODES[1], blocked) == ()


def test_a_meeting_of_this_machine_alone(cluster: Cluster, tmp_path: Path) -> None:
    alone = dataclasses.replace(cluster, nodes=(LOCAL,), scheduler=LOCAL)
    found = hold(alone, [LOCAL], [str(tmp_path / "data")])
    assert set(found) == {"local"}
    seen = found["local"]
    assert (seen.logins, seen.error, seen.unreached, seen.shares) == ({}, None, (), {})
    assert seen.offset is not None
    assert seen.round_trip is not None
    assert abs(seen.offset) <= seen.round_trip
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_port_that_is_taken(cluster: Cluster) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        alone = dataclasses.replace(cluster, nodes=(LOCAL,), scheduler=LOCAL, ports=Ports(scheduler=port))
        error = hold(alone, [LOCAL], [])["local"].error
    assert error is not None
    assert f"the scheduler's port {port} cannot be opened: Address already in use" in str(error)


def test_a_node_that_nobody_gets_into_is_told_for_each_stack(cluster: Cluster) -> None:
    lost = Node("lost", address="127.0.0.1", port=1)
    limits = Limits(connect_timeout=2)
    alone = dataclasses.replace(cluster, nodes=(LOCAL, lost), scheduler=LOCAL, limits=limits)
    found = hold(alone, [LOCAL, lost], [])
    assert set(found["lost"].logins) == {"asyncssh", "OpenSSH", "Fabric"}
    assert all("refuses the connection" in str(error) for error in found["lost"].logins.values())
    assert found["local"].unreached == (("lost", "127.0.0.1:1", "Connection refused"),)


def test_reach() -> None:
    server = meet.listen([0])
    port = server.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    assert meet.reach([["a", "127.0.0.1", port]], 2.0) == []
    assert meet.reach([["b", "127.0.0.1", free]], 2.0) == [["b", f"127.0.0.1:{free}", "Connection refused"]]
    server.close()


def test_the_first_port_that_is_free_is_listened_at() -> None:
    with meet.listen([0]) as first:
        taken = first.getsockname()[1]
        with meet.listen([taken, 0]) as second:
            assert meet.reach([["second", "127.0.0.1", second.getsockname()[1]]], 2.0) == []
        with pytest.raises(OSError, match="in use"):
            meet.listen([taken])
