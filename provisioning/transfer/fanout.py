"""The engine that commands use: it decides how bytes travel, and hands them to who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from provisioning.transfer.route import Route, Sending, choose

if TYPE_CHECKING:
    from provisioning.inventory import Cluster
    from provisioning.launch import Session
    from provisioning.resources.base import Parcel
    from provisioning.transfer.base import Arrival, OnNodeEvent


class Fanout:
    """See `provisioning.transfer.base.Transfer`.

    Parameters
    ----------
    sending : Sending
        What a person has said about it.

    Attributes
    ----------
    routes : list of Route
        What was decided for each transfer so far.
    """

    def __init__(self, sending: Sending | None = None) -> None:
        self.sending = sending or Sending()
        self.routes: list[Route] = []

    def route(self, cluster: Cluster, missing: Mapping[str, int]) -> Route:
        """Say how so many missing bytes per node would travel."""
        local = {node.name for node in (*cluster.nodes, cluster.driver) if node.is_driver}
        return choose(missing, local, self.sending, self.sending.uploads or cluster.limits.uploads)

    def spread(
        self,
        cluster: Cluster,
        parcels: Sequence[Parcel],
        sessions: Mapping[str, Session],
        arrived: Callable[[Arrival], None],
        on_event: OnNodeEvent,
    ) -> None:
        """Bring parcels to the nodes that lack parts of them."""
        missing: dict[str, int] = {}
        for parcel in parcels:
            for name, paths in parcel.missing.items():
                missing[name] = missing.get(name, 0) + parcel.manifest.select(paths).size
        route = self.route(cluster, missing)
        self.routes.append(route)
        uploads = self.sending.uploads or cluster.limits.uploads
        if route.kind == "star" and _copied(parcels):
            from provisioning.transfer.star import Star

            rate = self.sending.bwlimit
            star = Star(uploads=uploads, bwlimit=None if rate is None else rate // min(uploads, len(missing)))
            star.spread(cluster, parcels, sessions, arrived, on_event)
            return
        if route.kind == "straight" and self.sending.bwlimit is None:
            from provisioning.transfer.hand import hand

            parcels = hand(parcels, sessions, arrived, on_event, uploads=uploads)
            if not parcels:
                return
        # late, as the star: most commands find nothing to send
        from provisioning.transfer.feed import Throttle
        from provisioning.transfer.relay import Relay

        throttle = Throttle(self.sending.bwlimit)
        relay = Relay(cluster, parcels, sessions, arrived, on_event, throttle=throttle, uploads=uploads)
        relay.carry(route.chain)


def _copied(parcels: Sequence[Parcel]) -> bool:
    """Return whether rsync can copy them: it is there, and none of them holds links, of which only we know enough."""
    import shutil

    linked = any(entry.link is not None for parcel in parcels for entry in parcel.manifest.entries)
    return not linked and shutil.which("rsync") is not None
