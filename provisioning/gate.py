"""Whether nodes may run an experiment now: their receipts cover it, and a short look agrees with the receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from provisioning.errors import NotVerifiedError, ProvisionError
from provisioning.history import unproven
from provisioning.launch import open_session
from provisioning.noderange import fold
from provisioning.parallel import for_each
from provisioning.receipt import Receipt, covers, disagreements, load, placed, question

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.resources.base import Needs

LOOK = "provisioning.node.look"
LOOK_SECONDS = 60.0


def quick(cluster: Cluster, nodes: Sequence[Node], needs: Needs) -> dict[str, Receipt | ProvisionError]:
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
        Node name -> its receipt where it holds; else why not: a `NotVerifiedError` that names what is missing or has
        changed, or what kept the node from being looked at.
    """
    wanted = placed(cluster, needs)
    return for_each(nodes, lambda node: _look(cluster, node, wanted), parallel=cluster.limits.parallel)


def _look(cluster: Cluster, node: Node, needs: Needs) -> Receipt:
    receipt = load(cluster, node)
    if receipt is None:
        raise NotVerifiedError(unproven(cluster, node), host=node.name)
    lines = covers(receipt, needs)
    if not lines:
        files: Mapping[str, Sequence[str]] = {str(need.path): need.files for need in needs.datasets}
        with open_session(cluster, node) as session:
            seen = session.call(LOOK, question(cluster, files, needs.images), timeout=LOOK_SECONDS)
        lines = disagreements(receipt, seen)
    if lines:
        raise NotVerifiedError("; ".join(lines), host=node.name)
    return receipt


def folded(errors: Mapping[str, ProvisionError]) -> list[str]:
    """Return a line per cause, with the nodes that share it in front."""
    nodes: dict[str, list[str]] = {}
    for name, error in errors.items():
        nodes.setdefault(error.message, []).append(name)
    return [f"{fold(names)}: {message}" for message, names in nodes.items()]
