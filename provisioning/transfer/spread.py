"""Deliver parcels to one node: room and stage there, copy, proof and names there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from provisioning.errors import ChangedError, NodeError
from provisioning.scan import scan

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.inventory import Node
    from provisioning.launch import Session
    from provisioning.resources.base import OnEvent, Parcel

LAND = "provisioning.node.land"
TRIES = 2

Copy = Callable[["Path", list[str], str, Callable[[int], None]], None]
"""Copies files (paths below the first folder) into a folder of the node; tells the bytes it has sent so far."""


def deliver(session: Session, parcel: Parcel, copy: Copy, on_event: OnEvent) -> tuple[int, int]:
    """Bring what a node lacks of a parcel.

    Parameters
    ----------
    session : Session
    parcel : Parcel
    copy : callable
        The copier.
    on_event : callable
        Progress in bytes.

    Returns
    -------
    tuple of (int, int)
        Files and bytes that travelled.

    Raises
    ------
    ProvisionError
        When the files do not fit, do not arrive, or are not what they should be; nothing has a new name then.
    """
    wanted = parcel.manifest.select(parcel.missing[session.node.name])
    request: dict[str, Any] = {"target": str(parcel.target), "files": wanted.to_json()}
    request |= {"mode": parcel.mode, "group": parcel.group}
    last = [path for path in parcel.last if path in wanted.by_path]
    files = size = 0
    bad: dict[str, str] = {}
    for _ in range(TRIES):
        ready = session.call(LAND, {**request, "action": "prepare"}, on_event=on_event)
        if ready["send"]:
            total = ready["bytes"]
            title = f"{parcel.resource}: copy to {parcel.target}"

            def tell(done: int, title: str = title, total: int = total) -> None:
                on_event({"title": title, "done": min(done, total), "total": total, "unit": "B"})

            copy(parcel.source, ready["send"], ready["stage"], tell)
        files, size = files + len(ready["send"]), size + ready["bytes"]
        bad = session.call(LAND, {**request, "action": "commit", "last": last}, on_event=on_event)["bad"]
        if not bad:
            return files, size
    raise explain(session.node, parcel, bad)


def explain(node: Node, parcel: Parcel, bad: Mapping[str, str]) -> NodeError | ChangedError:
    """Tell a source that changes from a way that changes bytes.

    Parameters
    ----------
    node : Node
    parcel : Parcel
    bad : mapping of str to str
        Path -> what is wrong with what arrived.

    Returns
    -------
    NodeError or ChangedError
    """
    path, why = min(bad.items())
    if scan(parcel.source, [path]).by_path[path] != parcel.manifest.by_path[path]:
        return ChangedError(
            f"{parcel.source / path} was changed while it was copied", remedy="run the command again when it is at rest"
        )
    return NodeError(
        f"{len(bad)} files for {parcel.target} did not arrive, e.g. {path}: {why}",
        host=node.name,
        remedy="run the command again; if it repeats, look at memory, disk and network of this node",
    )
