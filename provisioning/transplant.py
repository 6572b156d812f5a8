"""What another machine must have to drive this cluster: the cluster file as it must see it, host keys, the proofs.

The driver here hands its part to one of the nodes. Nothing secret is among what travels: that node reaches the others
by logins of its own, and by the host keys that are pinned here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning import calibration, history, receipt
from provisioning.host_keys import host_keys
from provisioning.ssh import resolve

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.receipt import Receipt
    from provisioning.ssh import Endpoint

__all__ = ["CLUSTER_FILE", "sources_beside", "transplanted"]

CLUSTER_FILE = "cluster.toml"
KNOWN_HOSTS = "known_hosts"


def transplanted(cluster: Cluster, driver: Node) -> dict[str, bytes]:
    """Write down a cluster as one of its nodes sees it when it is the driver.

    Parameters
    ----------
    cluster : Cluster
        As this machine sees it.
    driver : Node
        One of its nodes, with a receipt. The scheduler runs there as well.

    Returns
    -------
    dict
        Path below one folder -> content: the cluster file, the pinned host keys, and the receipts with their histories
        and calibrations. Clocks in receipts are told by the new driver's own.

    Raises
    ------
    ProvisionError
        When the ssh configuration of this machine or a receipt cannot be read.
    """
    ways = {node.name: resolve(cluster, replace(node, is_driver=False)) for node in cluster.nodes}
    proofs = {node.name: proof for node in cluster.nodes if (proof := receipt.load(cluster, node)) is not None}
    others = [way for name, way in ways.items() if name != driver.name]
    files = {
        CLUSTER_FILE: _text(_tables(cluster, driver, ways, proofs.get(driver.name))).encode(),
        KNOWN_HOSTS: "".join(line for way in others for line in _pinned(way)).encode(),
    }
    ahead = proofs[driver.name].clock_offset if driver.name in proofs else 0.0
    here = cluster.file.parent
    for name, proof in proofs.items():
        moved = replace(proof, clock_offset=proof.clock_offset - ahead)
        path = (receipt.folder(cluster) / f"{name}.json").relative_to(here)
        files[path.as_posix()] = json.dumps(moved.to_json()).encode()
    for node in cluster.nodes:
        for file in (history.place(cluster, node), calibration.place_here(cluster, node.name)):
            if file.is_file():
                files[file.relative_to(here).as_posix()] = file.read_bytes()
    return files


def _tables(
    cluster: Cluster, driver: Node, ways: Mapping[str, Endpoint], proof: Receipt | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of the cluster file with their headers; paths of this machine are in none of them."""
    yield (
        "[cluster]",
        {
            "name": cluster.name,
            "hosts": list(ways),
            "driver": driver.name,
            "scheduler": driver.name,
            "results": str(cluster.results),
            "state": str(cluster.state),
            "known_hosts": KNOWN_HOSTS,
        },
    )
    if cluster.groups:
        yield "[groups]", {name: list(members) for name, members in cluster.groups.items()}
    for node in cluster.nodes:
        way = ways[node.name]
        # the accounts and addresses that were proven from here, whatever that machine's own configuration says
        table = {"address": way.hostname, "port": way.port, "user": way.user, "slots": node.slots}
        yield f"[host.{_toml(node.name)}]", table
    for folder in cluster.datasets:
        proven = None if proof is None else proof.datasets.get(str(folder.path))
        if (
            proven is not None and folder.index in proven.files
        ):  # what is not there is not needed, or refused by the gate
            rights = {"mode": f"{folder.mode:o}", **({"group": folder.group} if folder.group else {})}
            yield (
                "[[datasets]]",
                {"source": str(folder.path), "path": str(folder.path), "index": folder.index, **rights},
            )
    for kind in cluster.environments:
        made = {"name": kind.name, "prefix": str(kind.prefix), "python": kind.python, "manage": kind.manage}
        yield "[[environment]]", made
    for image in cluster.images:
        yield "[[images]]", {"name": image.name}
    yield "[push]", {name: value for name, value in asdict(cluster.push).items() if value is not None}
    ports = cluster.ports
    workers = "0" if ports.workers is None else f"{ports.workers[0]}-{ports.workers[1]}"
    yield "[ports]", {"scheduler": ports.scheduler, "workers": workers}
    yield "[limits]", asdict(cluster.limits)


def _text(tables: Iterator[tuple[str, dict[str, Any]]]) -> str:
    lines = ["# Written for this machine by `timeeval-run --on`, anew at each start of the run."]
    for header, values in tables:
        lines += ["", header, *(f"{_toml(key)} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: str | bool | int | Sequence[str]) -> str:
    """Write a value, or a key: JSON's words are among TOML's, once nothing but ASCII is left."""
    return json.dumps(value)


def _pinned(way: Endpoint) -> Iterator[str]:
    """Yield the lines of known_hosts for a node, by the names under which it is looked up anywhere."""
    keys = host_keys(way)
    address = way.hostname if way.port == 22 else f"[{way.hostname}]:{way.port}"
    names = ",".join(dict.fromkeys((way.node.name, address)))
    for marker, found in (("", keys.trusted), ("@cert-authority ", keys.authorities), ("@revoked ", keys.revoked)):
        for key in found:
            yield f"{marker}{names} {key}\n"


def sources_beside(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Return the dataset folders that lie below a folder of this machine: path below it -> folder on the nodes."""
    return {
        each.source.resolve().relative_to(folder.resolve()).as_posix(): str(each.path)
        for each in cluster.datasets
        if each.source.resolve().is_relative_to(folder.resolve())
    }
