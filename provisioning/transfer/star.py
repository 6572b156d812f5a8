"""The thin engine: the driver sends to every node itself, some of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.parallel import for_each
from provisioning.transfer.base import Arrival, OnNodeEvent
from provisioning.transfer.rsync import Copier
from provisioning.transfer.spread import deliver

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.resources.base import Parcel


class Star:
    """Parallel rsync; see `provisioning.transfer.base.Transfer`.

    Parameters
    ----------
    uploads : int or None
        Nodes that are sent to at a time; ``limits.uploads`` when None.
    bwlimit : int or None
        Bytes per second to each of them.
    """

    def __init__(self, *, uploads: int | None = None, bwlimit: int | None = None) -> None:
        self._uploads = uploads
        self._bwlimit = bwlimit

    def spread(
        self,
        cluster: Cluster,
        parcels: Sequence[Parcel],
        sessions: Mapping[str, Session],
        arrived: Callable[[Arrival], None],
        on_event: OnNodeEvent,
    ) -> None:
        """Bring parcels to the nodes that lack parts of them."""
        receivers = {name for parcel in parcels for name in parcel.missing}
        nodes = [session.node for name, session in sessions.items() if name in receivers]
        copiers = {node.name: Copier(cluster, node, self._bwlimit) for node in nodes}

        def one(node: Node) -> Arrival:
            files = size = 0
            for parcel in parcels:
                if node.name in parcel.missing:
                    count, sent = deliver(
                        sessions[node.name], parcel, copiers[node.name].push, lambda event: on_event(node.name, event)
                    )
                    files, size = files + count, size + sent
            return Arrival(node.name, files, size)

        def note(node: Node, outcome: Arrival | ProvisionError) -> None:
            arrived(Arrival(node.name, error=outcome) if isinstance(outcome, ProvisionError) else outcome)

        try:
            for_each(nodes, one, parallel=self._uploads or cluster.limits.uploads, progress=note)
        finally:
            for copier in copiers.values():
                copier.stop()
