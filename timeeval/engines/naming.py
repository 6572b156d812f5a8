"""Which nodes a script and a cluster file mean, and by which addresses nodes reach each other."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from timeeval.errors import TimeEvalError

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

HERE = ("localhost", "127.0.0.1", "::1")


def says_something(cluster: Cluster, host: str) -> bool:
    """Return whether a script's host means one of the cluster: ``localhost`` does so only where the driver is one."""
    return host not in HERE or any(node.is_driver for node in cluster.nodes)


def match(cluster: Cluster, host: str, field: str) -> Node:
    """Return the node that a script names by its name or any of its addresses.

    Raises
    ------
    TimeEvalError
        If there is none, naming both files' hosts.
    """
    nodes = (*cluster.nodes, cluster.scheduler)
    for node in nodes:
        if host in {node.name, node.address} or (host in HERE and node.is_driver):
            return node
    known = _lookup(host)
    for node in nodes:
        if known & _lookup(node.address or node.name):
            return node
    raise TimeEvalError(
        f"the script's {field} names {host}, which is no host of {cluster.file} "
        f"({', '.join(node.name for node in cluster.nodes)})",
        remedy="Use one file for both: name the host in cluster.toml, or remove it from the script",
    )


def _lookup(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def addresses(cluster: Cluster, node: Node) -> list[str]:
    """Return IP addresses that may be the node's own, the best first; over SSH the guard knows one more."""
    with contextlib.suppress(ValueError):
        if node.address is not None:
            return [str(ipaddress.ip_address(node.address))]
    others = [other for other in cluster.nodes if other.name != node.name]
    if node.is_driver:
        if not others:
            return ["127.0.0.1"]
        return [address for other in others[:1] if (address := _own_address_towards(other))]
    found = sorted(_lookup(node.address or node.name), key=lambda address: ":" in address)
    return [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]


def _own_address_towards(node: Node) -> str | None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
            probe.connect((node.address or node.name, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
