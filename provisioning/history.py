"""What became of each node's proof, in order: kept on the driver and on the node, and only ever added to."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from provisioning import receipt as receipts
from provisioning.errors import UsageError
from provisioning.node import history

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.receipt import Receipt

SCHEMA = "timeeval.history/1"
KEEP = "provisioning.node.keep"
Event = Literal["verified", "withdrawn", "cleaned"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event.

    Attributes
    ----------
    time : float
        Unix seconds of the driver.
    event : {"verified", "withdrawn", "cleaned"}
    why : str
        Why a proof does not hold any more.
    tool : str
        Version of this software.
    clock_offset : float or None
        Seconds by which the node's clock was ahead of the driver's.
    facts : mapping
        By `provisioning.facts.flat`.
    """

    time: float
    event: Event
    why: str = ""
    tool: str = ""
    clock_offset: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def when(self) -> str:
        """The time as people write it."""
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON document."""
        return {"schema": SCHEMA, **asdict(self)}


def place(cluster: Cluster, node: Node) -> Path:
    """Return the history of a node on the driver."""
    return receipts.folder(cluster) / f"{node.name}.history.jsonl"


def place_on_node(cluster: Cluster, node: Node) -> PurePosixPath:
    """Return the history of a node on itself."""
    return cluster.state / "receipts" / cluster.variant / f"{node.name}.history.jsonl"


def load(cluster: Cluster, node: Node) -> tuple[list[Entry], list[int]]:
    """Return what is known of a node, oldest first, and the positions at which the history was tampered with.

    Entries that cannot be read are left out; they are among the positions.
    """
    documents, broken = history.read(str(place(cluster, node)))
    fields = ("time", "event", "why", "tool", "clock_offset", "facts")
    known = [document for document in documents if document.get("schema") == SCHEMA]
    return [Entry(**{name: document[name] for name in fields if name in document}) for document in known], broken


def keep(cluster: Cluster, session: Session, proof: Receipt, facts: Mapping[str, str]) -> None:
    """Write a receipt on the node and on the driver, and add it to both histories."""
    entry = Entry(proof.time, "verified", "", proof.tool, proof.clock_offset, facts)
    _tell(cluster, session, entry, proof.to_json())
    receipts.save(cluster, proof)
    history.append(str(place(cluster, session.node)), entry.to_json())


def withdraw(
    cluster: Cluster, node: Node, why: str, session: Session | None = None, event: Event = "withdrawn"
) -> None:
    """Let the receipt of a node be no proof any more; nothing happens where there is none.

    Parameters
    ----------
    cluster : Cluster
    node : Node
    why : str
        What was found.
    session : Session, optional
        Open, where the node is to be told as well.
    event : {"withdrawn", "cleaned"}
    """
    file = receipts.folder(cluster) / f"{node.name}.json"
    if not file.exists():
        return
    entry = Entry(time.time(), event, why, importlib.metadata.version("timeeval-cluster"))
    # first what the gate reads: whatever happens afterwards, the node is not trusted any more
    file.unlink()
    history.append(str(place(cluster, node)), entry.to_json())
    if session is not None and event == "withdrawn":
        _tell(cluster, session, entry, None)


def _tell(cluster: Cluster, session: Session, entry: Entry, document: Mapping[str, Any] | None) -> None:
    node = session.node
    args = {
        "path": str(receipts.place_on_node(cluster, node)),
        "document": document,
        "history": str(place_on_node(cluster, node)),
        "entry": entry.to_json(),
    }
    session.call(KEEP, args)


def unproven(cluster: Cluster, node: Node) -> str:
    """Say why a node has no receipt."""
    entries, _ = load(cluster, node)
    last = entries[-1] if entries else None
    if last is None or last.event == "verified":
        return "it was never verified"
    return f"it is not verified since {last.when}: {last.why}"


def find(entries: Sequence[Entry], since: str) -> Entry:
    """Return the proof that a node had at some time.

    Parameters
    ----------
    entries : sequence of Entry
        Oldest first.
    since : str
        A number of proofs to go back from the last one, or a time such as ``2026-11-22`` or ``2026-11-22T10:30``
        (UTC unless it says otherwise): the last proof from before then, or else the first one.

    Raises
    ------
    UsageError
        When it is neither, or there is no such proof.
    """
    proofs = [entry for entry in entries if entry.event == "verified"]
    if not proofs:
        raise UsageError("it was never verified", remedy="timeeval-provision verify")
    if since.isdigit():
        back = int(since)
        if back >= len(proofs):
            raise UsageError(f"there are {len(proofs)} proofs, none {back} before the last", remedy="name fewer")
        return proofs[-1 - back]
    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise UsageError(f"'{since}' is neither a number nor a time", remedy="write 3, or 2026-11-22T10:30") from error
    stamp = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    return next((entry for entry in reversed(proofs) if entry.time <= stamp), proofs[0])
