"""Names, addresses and start arguments of a sandbox's containers; nothing here touches an engine."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import UsageError
from provisioning.sandbox.recipe import digest_of

__all__ = ["FULL", "LABEL", "MOST_NODES", "SPEC_LABEL", "NodeSpec", "node_specs", "run_argv", "sandbox_name"]

LABEL = "timeeval.sandbox"
SPEC_LABEL = "timeeval.sandbox.spec"
FULL = "/srv/full"
"""A file system of 24 MiB on each node: small enough to be filled for real."""
MOST_NODES = 64
FIRST_ADDRESS = 10


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node as it must be.

    Parameters
    ----------
    name : str
        Host name, such as ``node1``.
    container : str
        Name of its container.
    network : str
        Name of the Docker network it is in.
    address : str
        Its IPv4 address there, which stays the same when the node is started again.
    image : str
        Name of the image it runs.
    """

    name: str
    container: str
    network: str
    address: str
    image: str


def sandbox_name(folder: Path) -> str:
    """Give the name of the sandbox that belongs to a folder; two clones on one machine have two sandboxes."""
    return f"timeeval-sandbox-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]}"


def node_specs(sandbox: str, subnet: str, count: int, image: str) -> list[NodeSpec]:
    """Lay out the nodes of a sandbox.

    Parameters
    ----------
    sandbox : str
        Name of the sandbox, and of its network.
    subnet : str
        The network's IPv4 range, such as ``172.18.0.0/16``.
    count : int
        Number of nodes, 1 to `MOST_NODES`.
    image : str
        Name of the node image.

    Returns
    -------
    list of NodeSpec
        ``node1`` to ``node<count>``.

    Raises
    ------
    UsageError
        The number is out of range, or the network too small for it.
    """
    if not 1 <= count <= MOST_NODES:
        raise UsageError(f"a sandbox has 1 to {MOST_NODES} nodes, not {count}")
    network = ipaddress.IPv4Network(subnet)
    if network.num_addresses < FIRST_ADDRESS + count + 2:
        raise UsageError(f"the network {subnet} has no room for {count} nodes")
    return [
        NodeSpec(
            name=f"node{number}",
            container=f"{sandbox}-node{number}",
            network=sandbox,
            address=str(network.network_address + FIRST_ADDRESS + number),
            image=image,
        )
        for number in range(1, count + 1)
    ]


def run_argv(spec: NodeSpec, sandbox: str, cgroup_version: int) -> list[str]:
    """Give the arguments of ``docker`` that start a node.

    Parameters
    ----------
    spec : NodeSpec
        The node.
    sandbox : str
        Name of the sandbox, for the label that marks the container as its own.
    cgroup_version : int
        The engine's cgroup version, 1 or 2.

    Returns
    -------
    list of str
        ``run --detach … IMAGE``. The label `SPEC_LABEL` holds a digest over all the rest.
    """
    if cgroup_version == 1:
        # A nested engine makes its groups below the machine's own tree.
        cgroups = ["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    else:
        cgroups = ["--cgroupns", "private"]
    options = [
        *("--name", spec.container, "--hostname", spec.name, "--label", f"{LABEL}={sandbox}"),
        *("--network", spec.network, "--network-alias", spec.name, "--ip", spec.address),
        # Not --privileged: a confined machine cannot give SYS_RESOURCE, and the devices are not wanted.
        *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *("--security-opt", "systempaths=unconfined"),
        *cgroups,
        # The nested engine's overlay2 cannot sit on this container's own overlay.
        *("--volume", "/var/lib/docker"),
        *("--tmpfs", f"{FULL}:rw,size=24m,uid=1000,gid=1000,mode=0755"),
        *("--stop-timeout", "3"),
    ]
    digest = digest_of(*(option.encode() for option in [*options, spec.image]))
    return ["run", "--detach", *options, "--label", f"{SPEC_LABEL}={digest}", spec.image]
