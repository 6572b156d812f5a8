"""The seam between what has to travel and how it travels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from provisioning.errors import ProvisionError
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.resources.base import Parcel

OnNodeEvent = Callable[[str, dict[str, Any]], None]
"""Called with a node's name and ``{"title": str, "done": int, "total": int}``, from any thread."""

MOST = 1 << 36
"""Bytes that are fetched from one node at most, where nobody says otherwise: 64 GiB."""


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


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was fetched from one node.

    Attributes
    ----------
    files, size : int
        What travelled: number and bytes.
    present : int
        Files that were there already, with equal digests.
    other : tuple of str
        Links, sockets and the like, which are never fetched.
    pending : tuple of str
        Files that changed while they were read or fetched, also at the second try; the next call fetches them.
    """

    files: int = 0
    size: int = 0
    present: int = 0
    other: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


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

    def gather(
        self,
        cluster: Cluster,
        nodes: Sequence[Node],
        remote: PurePosixPath,
        local: Path,
        *,
        most: int = MOST,
        skip: Sequence[str] = (),
        on_event: OnNodeEvent | None = None,
    ) -> dict[str, Gathered | ProvisionError]:
        """Fetch one folder of many nodes into one folder of the driver.

        Parameters
        ----------
        cluster : Cluster
        nodes : sequence of Node
        remote : PurePosixPath
            Folder on the nodes; one that does not exist is empty.
        local : Path
            Folder on the driver; created when missing.
        most : int
            Bytes at most per node.
        skip : sequence of str
            Names of folders below `remote` that stay where they are.
        on_event : callable or None
            Progress in bytes.

        Returns
        -------
        dict
            Node name -> what was fetched, or why it could not be. A file of the same name and other bytes, on another
            node or on the driver, is an error of that node and replaces nothing, unless the one on the driver is an
            earlier state of the very same file.
        """
