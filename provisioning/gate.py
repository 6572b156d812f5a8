"""Whether nodes may run an experiment now: their receipts cover it, and a short look agrees with the receipts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from provisioning.errors import NotVerifiedError, ProvisionError
from provisioning.history import unproven
from provisioning.launch import open_session
from provisioning.noderange import fold
from provisioning.parallel import for_each
from provisioning.plain import line
from provisioning.receipt import Receipt, by_context, covers, disagreements, load, placed, question

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.resources.base import Needs

LOOK = "provisioning.node.look"
LOOK_SECONDS = 60.0
CLOCK_SECONDS = 30.0
"""A machine that is overloaded may take a while to tell the time."""


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
    receipt = _covering(cluster, node, needs)
    with open_session(cluster, node) as session:
        return _agreeing(cluster, session, receipt, needs)


def standing(cluster: Cluster, session: Session, needs: Needs) -> Receipt:
    """Do the same for the one node that a session leads to; raises `NotVerifiedError` where its receipt does not hold.

    Parameters
    ----------
    cluster : Cluster
    session : Session
        Open.
    needs : Needs
        With folders as nodes have them.
    """
    return _agreeing(cluster, session, _covering(cluster, session.node, needs), needs)


def _covering(cluster: Cluster, node: Node, needs: Needs) -> Receipt:
    receipt = load(cluster, node)
    if receipt is None:
        raise NotVerifiedError(unproven(cluster, node), host=node.name)
    lines = covers(receipt, needs)
    if not cluster.push.by_context and (built := by_context(receipt, needs.images)):
        lines.append(
            f"images were built there, equal by context, not by content: {', '.join(built)}; "
            f"{cluster.file.name} does not allow that (by_context under [push])"
        )
    if lines:
        raise NotVerifiedError("; ".join(lines), host=node.name)
    return receipt


def _agreeing(cluster: Cluster, session: Session, receipt: Receipt, needs: Needs) -> Receipt:
    files: Mapping[str, Sequence[str]] = {str(need.path): need.files for need in needs.datasets}
    clocks: list[float] = []

    def listen(event: dict[str, Any]) -> None:
        if "clock" in event:
            clocks.append(float(event["clock"]) - time.time())

    asked = question(cluster, files, needs.images)
    seen = session.call(LOOK, asked, timeout=LOOK_SECONDS, on_event=listen)
    lines = [*disagreements(receipt, seen), *_clock(receipt, clocks)]
    if lines:
        raise NotVerifiedError("; ".join(lines), host=session.node.name)
    return receipt


def _clock(receipt: Receipt, offsets: Sequence[float]) -> list[str]:
    """Tell of a clock that was set since; times of experiments come from it."""
    if not offsets or abs(offsets[0] - receipt.clock_offset) <= CLOCK_SECONDS:
        return []
    was, now = receipt.clock_offset, offsets[0]
    return [f"its clock is {now:+.0f} s off this machine's, it was {was:+.1f} s when it was verified"]


def folded(errors: Mapping[str, ProvisionError]) -> list[str]:
    """Return a line per cause, with the nodes that share it in front."""
    nodes: dict[str, list[str]] = {}
    for name, error in errors.items():
        nodes.setdefault(line(error.message), []).append(name)
    return [f"{fold(names)}: {message}" for message, names in nodes.items()]
