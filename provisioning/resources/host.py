"""The host: what a machine must be able to do before anything is brought to it. Only a person can change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.inventory import LOCAL
from provisioning.noderange import fold
from provisioning.resources.base import Difference, Facts, Needs, OnEvent, Parcel, Severity, Task, Work
from provisioning.resources.findings import Findings
from provisioning.shapes import Shape, fits

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

GIB = 1 << 30
LEAST_FREE = GIB // 4
SCARCE_FREE = 2 * GIB
LEAST_INODES = 1_000
SCARCE_INODES = 20_000
LEAST_MEMORY_PER_SLOT = GIB // 2

COMPARED: Shape = {
    "boot_id": str | None,
    "libc": [str],
    "machine": str,
    "machine_id": str | None,
    "namespaces": [str | None],
    "rooms": (dict,),
}
"""What hosts are compared by."""


def managed_paths(cluster: Cluster) -> list[str]:
    """Return the folders on the nodes that the cluster file names.

    Parameters
    ----------
    cluster : Cluster

    Returns
    -------
    list of str
        Absolute, each once.
    """
    paths = [cluster.results, cluster.state, *(folder.path for folder in cluster.datasets)]
    if cluster.environment is not None and cluster.environment.manage:
        paths.append(cluster.environment.prefix)
    return [str(path) for path in dict.fromkeys(paths)]


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of each host, and what all of them together have shown.

    Attributes
    ----------
    docker : bool
        Whether images are to run.
    twins : mapping of str to str
        Node name -> the node before it that is the very same machine.
    clones : mapping of str to tuple of str
        Node name -> other machines with the same machine-id.
    odd : mapping of str to str
        Node name -> how its kind of machine differs from that of most.
    """

    docker: bool
    twins: Mapping[str, str]
    clones: Mapping[str, tuple[str, ...]]
    odd: Mapping[str, str]


class Host:
    """A machine's abilities; its observation is what tells targets apart for the other resources."""

    name = "host"
    program = "provisioning.node.observe_host"

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:  # noqa: ARG002
        """Return none: nothing is written to."""
        return ()

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:  # noqa: ARG002
        """Ask for facts, and for the room in each managed folder."""
        python = None if cluster.environment is None else cluster.environment.python
        return {"paths": managed_paths(cluster), "python": python}

    def sensible(self, observed: Mapping[str, Any]) -> bool:
        """Return whether the host can be compared with others."""
        return fits(observed, COMPARED) and bool(observed["libc"])

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> Demands:
        """Compare the machines with each other."""
        hosts = {name: answers[self.name] for name, answers in facts.items() if self.name in answers}
        docker = bool(cluster.images) or bool(needs is not None and needs.images)
        twins = _twins(hosts)
        ids: dict[str, list[str]] = {}
        for name, host in hosts.items():
            if host["machine_id"] is not None and name not in twins:
                ids.setdefault(host["machine_id"], []).append(name)
        clones = {name: tuple(set(same) - {name}) for same in ids.values() if len(same) > 1 for name in same}
        return Demands(docker, twins, clones, _odd(hosts))

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: Demands) -> Difference:
        """Return all findings about one host."""
        found = Findings(node.name, self.name)
        self._identity(node, observed, desired, found)
        self._python(observed, cluster, found)
        if observed["rsync"] is None:
            found.error("rsync is not installed", "install it: apt-get install rsync")
        if desired.docker:
            self._docker(observed["docker"], found)
        for path, room in observed["rooms"].items():
            self._room(path, room, observed["user"], found)
        self._size(node, observed, found)
        if observed["logout"] is not None and not node.is_driver:
            found.warning(
                f"{observed['logout']['message']}, so a cut of the network ends what runs there and it drives no run",
                observed["logout"]["remedy"],
            )
        return Difference(findings=found.all())

    def _identity(self, node: Node, observed: Mapping[str, Any], desired: Demands, found: Findings) -> None:
        own = observed["hostname"].partition(".")[0]
        if node.is_driver and own not in {node.name.partition(".")[0], node.name} and node.name != LOCAL:
            found.warning(
                f"is this machine by the cluster file, but this machine's own name is {own}",
                "run the command there, or correct cluster.driver",
            )
        if node.name in desired.twins:
            other = desired.twins[node.name]
            found.error(
                f"is the same machine as {other}", f"name it once in the cluster file, with slots for both of {other}"
            )
        if node.name in desired.clones:
            found.warning(
                f"has the machine-id of {fold(desired.clones[node.name])}: one is a clone of the other",
                "give it its own: rm /etc/machine-id && systemd-machine-id-setup, then reboot",
            )
        if node.name in desired.odd:
            found.warning(desired.odd[node.name], "results of different machines are hard to compare")

    def _python(self, observed: Mapping[str, Any], cluster: Cluster, found: Findings) -> None:
        wanted = observed["wanted_python"]
        environment = cluster.environment
        if wanted is None or environment is None or not environment.manage or environment.python_from is not None:
            return
        minor = wanted["minor"]
        if wanted["executable"] is None:
            found.error(f"has no python{minor}", f"install it: apt-get install python{minor}")

    def _docker(self, docker: Mapping[str, Any], found: Findings) -> None:
        if "error" in docker:
            found.error(docker["error"], docker["remedy"])
            return
        if not docker["limits_memory"]:
            found.error(
                "its Docker engine cannot limit memory",
                "switch the memory cgroup on: kernel options cgroup_enable=memory swapaccount=1",
            )
        if docker["room"]["free"] < SCARCE_FREE:
            _scarce(docker["root"], docker["room"], found)

    def _room(self, path: str, room: Mapping[str, Any], user: str, found: Findings) -> None:
        if not room["directory"]:
            found.error(f"{room['nearest']} is not a folder", f"move it away: {path} is to be a folder")
            return
        if not room["writable"]:
            parent = path if room["exists"] else room["nearest"]
            found.error(
                f"{user} cannot write to {parent}",
                f"as root: mkdir -p {path} && chown {user} {path}, or choose another path in the cluster file",
            )
        _scarce(path, room, found)

    def _size(self, node: Node, observed: Mapping[str, Any], found: Findings) -> None:
        if node.slots > observed["cores"]:
            found.warning(
                f"is to run {node.slots} experiments at a time on {observed['cores']} cores",
                "set fewer slots, or measured times will depend on each other",
            )
        if observed["memory"]["total"] < node.slots * LEAST_MEMORY_PER_SLOT:
            found.warning(
                f"has {_size(observed['memory']['total'])} of memory for {node.slots} experiments at a time",
                "set fewer slots",
            )

    def bring(self, work: Work[Demands]) -> Sequence[Parcel]:  # noqa: ARG002
        """Return nothing to bring."""
        return ()

    def settle(self, task: Task[Demands], on_event: OnEvent) -> None:
        """Never asked: there are findings only."""
        raise AssertionError(f"host {task.node.name} has no changes to make for {on_event!r}")


def _scarce(path: str, room: Mapping[str, Any], found: Findings) -> None:
    free, inodes = room["free"], room["inodes"]
    if free < SCARCE_FREE:
        severity: Severity = "error" if free < LEAST_FREE else "warning"
        found.add(severity, f"only {_size(free)} are free for {path}", "delete something there, or choose another path")
    if 0 <= inodes < SCARCE_INODES:
        severity = "error" if inodes < LEAST_INODES else "warning"
        found.add(severity, f"only {inodes} inodes are free for {path}", "delete files there, or choose another path")


def _twins(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Find names of one machine: the same boot of the same kernel, seen from the same namespaces."""
    first: dict[tuple[Any, ...], str] = {}
    twins = {}
    for name, host in hosts.items():
        key = (host["boot_id"], *host["namespaces"])
        if None in key:
            continue
        if key in first:
            twins[name] = first[key]
        first.setdefault(key, name)
    return twins


def _odd(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Find machines of another kind than most: architecture and C library decide which wheels and images fit."""
    kinds: dict[str, list[str]] = {}
    for name, host in hosts.items():
        kinds.setdefault(f"{host['machine']} with {host['libc'][0]}", []).append(name)
    if len(kinds) < 2:
        return {}
    most = max(kinds, key=lambda kind: len(kinds[kind]))
    return {name: f"is {kind}, most are {most}" for kind, names in kinds.items() if kind != most for name in names}


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count // (1 << 20)} MiB"
