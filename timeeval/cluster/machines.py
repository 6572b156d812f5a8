"""What is known of the hosts of a run: facts of their last proof, and how fast they were measured to be before."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from provisioning import calibration, history

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

logger = logging.getLogger(__name__)

FACTS = (
    *("os", "kernel", "machine", "libc", "processor", "vector units", "cores", "threads", "governor", "memory", "swap"),
    *("docker", "storage driver", "cgroup"),
)
"""What is told of a machine, as far as its last proof knew it; packages, data and images are in the proof."""


def known_of(
    cluster: Cluster, nodes: Sequence[Node], speeds: Mapping[str, Mapping[str, Any]], threads: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return what ``run.json`` says of the hosts of a run beside their proof.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
    speeds : mapping
        From `measured`.
    threads : mapping of str to str
        Variables by which experiments there choose their number of threads.

    Returns
    -------
    dict
        Node -> its facts, threads and calibration.
    """
    found = {}
    for node in nodes:
        entries, _ = history.load(cluster, node)
        facts = next((entry.facts for entry in reversed(entries) if entry.event == "verified"), {})
        found[node.name] = {
            "facts": {name: facts[name] for name in FACTS if name in facts},
            "threads": dict(threads),
            "calibration": speeds.get(node.name),
        }
    return found


def measured(
    cluster: Cluster, nodes: Sequence[Node], seen: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what is known of the speed of nodes, and name those that differ from most.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
    seen : mapping
        Node -> what its proof says of the machine; a measurement of another machine, start or kernel does not count.

    Returns
    -------
    dict
        Node -> its measurement with ``speed``, relative to the usual one of these nodes; nodes without one are missing.
    """
    known, stale = {}, []
    for node in nodes:
        found = calibration.load(cluster, node.name)
        if found is None or not _still(found, seen.get(node.name, {})):
            stale.append(node.name)
        else:
            known[node.name] = found
    relative = calibration.speeds(known)
    for host, speed in sorted(calibration.notable(relative).items()):
        logger.warning("%s computes at %.2f of the usual speed of these hosts: compare times with care", host, speed)
    if stale and relative:
        logger.warning(
            "how fast %s computes is not known as it is now; `timeeval-provision verify --calibrate` measures it",
            ", ".join(stale),
        )
    return {host: {"speed": round(speed, 4), **asdict(known[host])} for host, speed in relative.items()}


def _still(found: calibration.Calibration, seen: Mapping[str, Any]) -> bool:
    boot = str(seen.get("boot_id", "")).partition("/")[0]
    return (found.machine_id, found.boot_id, found.kernel) == (seen.get("machine_id"), boot, seen.get("kernel"))
