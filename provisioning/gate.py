"""Whether nodes may run an experiment now: their receipts cover it, and a short look agrees with the receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.launch import open_session
from provisioning.parallel import for_each
from provisioning.receipt import covers, disagreements, load, placed, question
from provisioning.resources.base import Finding, Needs

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

NAME = "gate"
LOOK = "provisioning.node.look"
_TIMEOUT = 60.0


def quick(cluster: Cluster, nodes: Sequence[Node], needs: Needs) -> dict[str, list[Finding]]:
    """Look at all nodes at once, in one call each, and compare with their receipts.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
    needs : Needs
        What the experiment needs.

    Returns
    -------
    dict
        Node name -> what stands against a run there, each with the one command that mends it; empty lists where nothing
        does. A node that is not reached has a finding that says so.
    """
    wanted = placed(cluster, needs)
    outcomes = for_each(nodes, lambda node: _one(cluster, node, wanted), parallel=cluster.limits.parallel)
    findings: dict[str, list[Finding]] = {}
    for node in nodes:
        outcome = outcomes[node.name]
        if isinstance(outcome, ProvisionError):
            remedy = outcome.remedy or _remedy(cluster, node)
            outcome = [Finding(node.name, NAME, outcome.message, remedy)]
        findings[node.name] = outcome
    return findings


def _one(cluster: Cluster, node: Node, needs: Needs) -> list[Finding]:
    receipt = load(cluster, node)
    if receipt is None:
        return [Finding(node.name, NAME, "it was never verified", _remedy(cluster, node))]
    lines = covers(receipt, needs)
    if not lines:
        files: Mapping[str, Sequence[str]] = {str(need.path): need.files for need in needs.datasets}
        with open_session(cluster, node) as session:
            seen = session.call(LOOK, question(cluster, files, needs.images), timeout=_TIMEOUT)
        lines = disagreements(receipt, seen)
    return [Finding(node.name, NAME, line, _remedy(cluster, node)) for line in lines]


def _remedy(cluster: Cluster, node: Node) -> str:
    return f"timeeval-provision up --cluster {cluster.file} --limit {node.name}"
