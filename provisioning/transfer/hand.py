"""Hand small differences over the lines on which locks are held: no copier and no agent is started for them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provisioning.endings import NONSENSE, senseless
from provisioning.errors import NodeError, ProvisionError
from provisioning.parallel import for_each
from provisioning.transfer.base import Arrival
from provisioning.transfer.feed import Item, whole
from provisioning.transfer.spread import explain

if TYPE_CHECKING:
    from provisioning.inventory import Node
    from provisioning.launch import Session
    from provisioning.locks import Held
    from provisioning.manifest import Entry
    from provisioning.resources.base import Parcel
    from provisioning.transfer.base import OnNodeEvent

MOST_BYTES = 1 << 20
MOST_FILES = 256


def hand(
    parcels: Sequence[Parcel],
    sessions: Mapping[str, Session],
    arrived: Callable[[Arrival], None],
    on_event: OnNodeEvent,
    *,
    uploads: int,
) -> list[Parcel]:
    """Bring what nodes lack where that is little and their locks are held.

    Parameters
    ----------
    parcels : sequence of Parcel
    sessions : mapping of str to Session
    arrived : callable
        Called once for each node that is done.
    on_event : callable
    uploads : int
        Nodes that are sent to at a time.

    Returns
    -------
    list of Parcel
        What is left to others: of nodes that lack more, or where something is not plain.
    """
    lacking = {name for parcel in parcels for name in parcel.missing}
    packs = _Packs(parcels)
    nodes = [sessions[name].node for name in lacking if sessions[name].held is not None and packs.small(name)]
    left = lacking - {node.name for node in nodes}

    def one(node: Node) -> Arrival | None:
        held = sessions[node.name].held
        return None if held is None else _hand(node, held, packs, on_event)

    def note(node: Node, outcome: Arrival | ProvisionError | None) -> None:
        if outcome is None:
            left.add(node.name)
        else:
            arrived(Arrival(node.name, error=outcome) if isinstance(outcome, ProvisionError) else outcome)

    for_each(nodes, one, parallel=uploads, progress=note)
    rest = [
        replace(each, missing={name: each.missing[name] for name in left & each.missing.keys()}) for each in parcels
    ]
    return [parcel for parcel in rest if parcel.missing]


class _Packs:
    """What nodes lack, with its bytes: the same for all that lack the same."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self.parcels = parcels
        self._select = functools.lru_cache(maxsize=256)(self._selected)
        self.packed = functools.lru_cache(maxsize=256)(self._packed)

    def small(self, name: str) -> bool:
        """Say whether a node lacks little."""
        paths = [path for parcel in self.parcels for path in parcel.missing.get(name, ())]
        if len(paths) > MOST_FILES:
            return False
        return sum(entry.size for entries in self.entries(name) for entry in entries) <= MOST_BYTES

    def entries(self, name: str) -> list[tuple[Entry, ...]]:
        """Return what a node lacks of each parcel."""
        return [self._select(number, tuple(each.missing.get(name, ()))) for number, each in enumerate(self.parcels)]

    def _selected(self, number: int, paths: tuple[str, ...]) -> tuple[Entry, ...]:
        return self.parcels[number].manifest.select(paths).entries if paths else ()

    def _packed(self, entries: tuple[tuple[Entry, ...], ...]) -> bytes:
        packer, pieces = zlib.compressobj(1), []
        for number, part in enumerate(entries):
            for entry in part:
                if entry.link is None:
                    item = Item(number, self.parcels[number].source, entry.path, entry.size, entry.sha256)
                    pieces.append(packer.compress(whole(item)))
        return b"".join([*pieces, packer.flush()])


def _hand(node: Node, held: Held, packs: _Packs, on_event: OnNodeEvent) -> Arrival | None:
    """Bring a node what it lacks; None where others have to."""
    entries = packs.entries(node.name)
    mine = [(parcel, part) for parcel, part in zip(packs.parcels, entries, strict=True) if part]
    folders = [
        {
            "target": str(parcel.target),
            "last": list(parcel.last),
            "mode": parcel.mode,
            "group": parcel.group,
            "files": [[entry.path, entry.size, entry.sha256] for entry in part],
        }
        for parcel, part in mine
    ]
    packed = packs.packed(tuple(entries))
    held.check()
    held.conversation.send({"do": "take", "folders": folders})
    held.conversation.send_piece(packed)
    answer = _answer(held, lambda event: on_event(node.name, event))
    try:
        if "settled" in answer:
            return Arrival(node.name, int(answer["settled"]["files"]), int(answer["settled"]["size"]))
        if "refused" in answer:
            return None
        for number, bad in answer["bad"].items():
            parcel = mine[int(number)][0]
            if not bad.keys() <= set(parcel.missing[node.name]):
                raise ValueError(f"{min(bad)!r} was never sent")
            error = explain(node, parcel, bad)
            if not isinstance(error, NodeError):
                raise error
    except NONSENSE as error:
        raise senseless(node.name, error) from error
    return None


def _answer(held: Held, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    while True:
        event = held.conversation.receive()
        if event is None:
            raise NodeError("it let its locks go", host=held.conversation.host, remedy="run the command again")
        if "title" not in event:
            return event
        tell(event)
