"""The gate before a run: which nodes are proven to be what it needs, and what it may rely on there."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning import receipt
from provisioning.errors import NotVerifiedError, ProvisionError, UnreachableError
from provisioning.gate import folded, quick
from provisioning.noderange import fold
from provisioning.resources.base import Needs
from timeeval.cluster.translated import translated
from timeeval.proof import Claim, Proof
from timeeval.run import local_code

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

logger = logging.getLogger(__name__)


def gate(
    cluster: Cluster, nodes: Sequence[Node], needs: Mapping[str, Any], *, min_workers: int = 1
) -> tuple[Proof, tuple[Node, ...]]:
    """Demand that nodes are as they were proven to be, in one short look at each.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
        Where a run shall go.
    needs : mapping
        The document ``timeeval.needs/1``.
    min_workers : int
        Nodes that cannot be reached are left out while so many remain.

    Returns
    -------
    proof : Proof
        What the run may rely on.
    nodes : tuple of Node
        Those that were reached.

    Raises
    ------
    TimeEvalError
        Naming node by node what is not proven, and the one command that mends it.
    """
    with translated():
        wanted = Needs.parse(json.dumps(needs))
    outcomes = quick(cluster, nodes, wanted)
    unreached = {name: o for name, o in outcomes.items() if isinstance(o, UnreachableError)}
    bad = {name: o for name, o in outcomes.items() if isinstance(o, ProvisionError) and name not in unreached}
    good = tuple(node for node in nodes if node.name not in unreached)
    if bad or len(good) < min_workers:
        causes = "".join(f"\n  {line}" for line in folded(bad or unreached))
        with translated():
            command = _up(cluster, fold(bad or unreached))
            kind = NotVerifiedError if bad else UnreachableError
            raise kind(
                f"{len(bad or unreached)} of {len(nodes)} hosts may not run this:{causes}\n",
                remedy=f"Run `{command}`, or leave them out with --exclude",
            )
    for line in folded(unreached):
        logger.warning("The run goes on without %s", line)
    receipts = {name: o for name, o in outcomes.items() if isinstance(o, receipt.Receipt)}
    sources = {str(folder.path): folder.source for folder in cluster.datasets}

    def mend(node: str) -> str:
        return f"`{_up(cluster, node)}` mends and verifies it"

    images = dict.fromkeys(wanted.images, receipt.image_id)
    claim = Claim("ssh", True, mend, "Run `timeeval-provision up` for all of them together")
    needed = receipt.placed(cluster, wanted).datasets
    return Proof.of(receipts, images, sources, needed, claim, code=local_code.collect()), good


def _up(cluster: Cluster, hosts: str) -> str:
    command = f"timeeval-provision up --cluster {shlex.quote(str(cluster.file))} --limit {shlex.quote(hosts)}"
    return command + (f" --environment {cluster.variant}" if cluster.variant else "")


def located(cluster: Cluster, path: Path) -> Path:
    """Return where nodes have a dataset file that a script names by its place there or by the driver's source."""
    for folder in cluster.datasets:
        if not path.is_relative_to(folder.path) and path.resolve().is_relative_to(folder.source.resolve()):
            return Path(folder.path) / path.resolve().relative_to(folder.source.resolve())
    return path
