"""The seam between what has to travel and how it travels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from provisioning.errors import ProvisionError
    from provisioning.inventory import Cluster
    from provisioning.launch import Session
    from provisioning.resources.base import Parcel

OnNodeEvent = Callable[[str, dict[str, Any]], None]
"""Called with a node's name and ``{"title": str, "done": int, "total": int}``, from any thread."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of one node's parcels.

    Attributes
    ----------
    node : str
    files, size : int
        What travelled: number and bytes; less than was missing when an interrupted transfer was resumed.
    error : ProvisionError or None
        Why some of it is not in place. No file of a parcel that failed has its final name.
    """

    node: str
    files: int = 0
    size: int = 0
    error: ProvisionError | None = None


class Transfer(Protocol):
    """An engine: it alone knows fan-out, limits, resume, progress and proof of arrival."""

    def spread(
        self,
        cluster: Cluster,
        parcels: Sequence[Parcel],
        sessions: Mapping[str, Session],
        arrived: Callable[[Arrival], None],
        on_event: OnNodeEvent,
    ) -> None:
        """Bring parcels to the nodes that lack parts of them.

        Files arrive beside their target, are proven there by digest, and get their final names one by one, those of
        `Parcel.last` after all others. Returns when every node has all of its parcels or has failed.

        Parameters
        ----------
        cluster : Cluster
        parcels : sequence of Parcel
            At most one per target folder.
        sessions : mapping of str to Session
            Node name -> open session, for every node that `parcels` name.
        arrived : callable
            Called once for each of these nodes as soon as it is done, from any thread.
        on_event : callable
            Progress in bytes.
        """
