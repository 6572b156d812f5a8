"""What travels to a node so that it has certain layers: nothing, a patch against one that it has, or the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provisioning.resources.images.packed import LARGEST, LayerStore

if TYPE_CHECKING:
    from provisioning.manifest import Entry
    from provisioning.resources.images.packer import Form

SMALL = 16 << 10
"""Bytes of a packed layer below which no patch is looked for."""
CANDIDATES = 2
MEMORY = 3
"""A patch is made and read in memory: so many times the layer must be free."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a node can use, as it was observed.

    Attributes
    ----------
    held : mapping of str to (str, str)
        Layer -> path in the node's store and form, for each layer that lies there.
    zstd : bool
        Whether it reads zstd and patches.
    memory : int
        Bytes that are free on the node and on the driver.
    """

    held: Mapping[str, tuple[str, Form]]
    zstd: bool
    memory: int


@dataclass(frozen=True, slots=True)
class Piece:
    """How a node comes by one layer.

    Attributes
    ----------
    layer : str
    size : int
        Bytes of the unpacked layer.
    form : str
        ``"zst"``, ``"gz"`` or ``"patch"``.
    path : str
        File in the node's store.
    sent : Entry or None
        What is sent; None when the file lies there.
    basis : tuple of (str, str, str) or None
        Layer, path and form of what a patch is against.
    """

    layer: str
    size: int
    form: str
    path: str
    sent: Entry | None = None
    basis: tuple[str, str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for `provisioning.node.load_images`."""
        sha256 = None if self.sent is None else self.sent.sha256
        return {
            "layer": self.layer,
            "size": self.size,
            "form": self.form,
            "path": self.path,
            "sha256": sha256,
            "basis": None if self.basis is None else list(self.basis),
        }


def pieces(store: LayerStore, layers: Sequence[str], receiver: Receiver, names: Mapping[str, str]) -> list[Piece]:
    """Return the cheapest way of each layer to a node; the same question always has the same answer.

    Parameters
    ----------
    store : LayerStore
        Holds all of the layers.
    layers : sequence of str
        What the node lacks.
    receiver : Receiver
    names : mapping of str to str
        Layer -> name of an image that it belongs to; its earlier layers are the first to be compared with.
    """
    chosen = []
    held = dict(receiver.held)
    for layer in layers:
        piece = _piece(store, layer, replace(receiver, held=held), names.get(layer, ""))
        if piece.form == "zst":  # it lies there before anything is unpacked, so those after it may build on it
            held[layer] = (piece.path, "zst")
        chosen.append(piece)
    return chosen


def _piece(store: LayerStore, layer: str, receiver: Receiver, name: str) -> Piece:
    size = store.raw_size(layer) or 0
    if layer in receiver.held:
        path, form = receiver.held[layer]
        return Piece(layer, size, form, path)
    whole: Form = "zst" if receiver.zstd else "gz"
    entry = store.packed(layer, whole)
    if receiver.zstd and entry.size > SMALL and size < min(LARGEST, receiver.memory // MEMORY):
        made = [(store.patch(layer, basis), basis) for basis in _bases(store, layer, size, receiver, name)]
        tried = [(patch.size, basis) for patch, basis in made if patch is not None]
        if tried:
            _, basis = min(tried)
            patch = store.patch(layer, basis, best=True)
            if patch is not None:
                return Piece(layer, size, "patch", patch.path, patch, (basis, *receiver.held[basis]))
    return Piece(layer, size, whole, entry.path, entry)


def _bases(store: LayerStore, layer: str, size: int, receiver: Receiver, name: str) -> list[str]:
    """Return what a patch is tried against: the layer in this place of an earlier image, then those of like size."""
    usable = [held for held in receiver.held if held in store and 0 < (store.raw_size(held) or 0) < LARGEST]
    stacks = store.stacks(name)
    places = [stack.index(layer) for stack in stacks if layer in stack]
    before = [stack[place] for place in places for stack in stacks if place < len(stack)]
    alike = [held for held in usable if size / 2 <= (store.raw_size(held) or 0) <= size * 2]
    alike.sort(key=lambda held: (abs((store.raw_size(held) or 0) - size), held))
    return [held for held in dict.fromkeys([*before, *alike]) if held in usable and held != layer][:CANDIDATES]
