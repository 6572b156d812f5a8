"""Deliver parcels to one node: room and stage there, copy, proof and names there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, UsageError
from provisioning.scan import scan

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.launch import Session
    from provisioning.manifest import Manifest
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
    raise _explain(session, parcel, wanted, bad)


def _explain(session: Session, parcel: Parcel, wanted: Manifest, bad: dict[str, str]) -> NodeError | UsageError:
    """Tell a source that changes from a way that changes bytes."""
    path, why = min(bad.items())
    now = scan(parcel.source, [path]).by_path[path]
    if now != wanted.by_path[path]:
        return UsageError(
            f"{parcel.source / path} was changed while it was copied", remedy="run the command again when it is at rest"
        )
    return NodeError(
        f"{len(bad)} files for {parcel.target} did not arrive, e.g. {path}: {why}",
        host=session.node.name,
        remedy="run the command again; if it repeats, look at memory, disk and network of this node",
    )
