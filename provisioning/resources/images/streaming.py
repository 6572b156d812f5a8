"""A first push to one node: layers travel while they are packed, and are loaded while the next ones travel.

Where several nodes lack the same, layers are packed into the store first and go from node to node
(`provisioning.transfer`); to one node there is nothing to pass on, and nobody has to wait for the whole. Of images
that may be much alike (the same packages, installed for each of them) only the first goes so: the others follow as
patches against it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, ProvisionError
from provisioning.resources.images.build import export
from provisioning.resources.images.saving import WrongLayerError
from provisioning.transfer.feed import Throttle

if TYPE_CHECKING:
    from provisioning.launch import Session
    from provisioning.resources.base import OnEvent
    from provisioning.resources.images.build import Built
    from provisioning.resources.images.order import Order
    from provisioning.resources.images.packed import LayerStore

PROGRAM = "provisioning.node.receive_layers"
WORTH = 32 << 20
"""Bytes of layers from which on it is worth a line of its own."""
ALIKE = 1.5
"""Layers whose bytes differ by less than this factor may be much alike."""
AHEAD = 16
_BEAT = 0.5


def worthwhile(orders: Mapping[str, Order], sizes: Mapping[str, int], store: LayerStore, nodes: int) -> bool:
    """Return whether layers should be streamed: to one node, a lot that was never packed, and nothing to patch.

    Parameters
    ----------
    orders : mapping of str to Order
        Of all nodes that lack images.
    sizes : mapping of str to int
        Bytes of images, by name.
    store : LayerStore
    nodes : int
        How many nodes there are changes for at all.
    """
    if len(orders) != 1 or nodes != 1:
        return False
    (order,) = orders.values()
    if order.whole or order.store != "classic" or not order.receiver.zstd or order.receiver.held:
        return False
    return not any(layer in store for layer in order.layers) and sum(sizes[name] for name in order.images) >= WORTH


def foremost(images: Sequence[Built], steps: Callable[[str], Sequence[tuple[str, int]]]) -> list[Built]:
    """Return the images that are streamed: of those that may be much alike the first.

    Parameters
    ----------
    images : sequence of Built
        In the order in which they travel.
    steps : callable
        Image name -> what made it, and the bytes that each step left.
    """
    made = {image.name: set(steps(image.name)) for image in images}
    chosen: list[Built] = []
    for image in images:
        if not any(_alike(made[image.name], made[other.name]) for other in chosen):
            chosen.append(image)
    return chosen


def _alike(one: AbstractSet[tuple[str, int]], other: AbstractSet[tuple[str, int]]) -> bool:
    """Return whether the largest layers that two images do not share could be patches of each other."""
    sizes = [max((size for _, size in own), default=0) for own in (one - other, other - one)]
    return min(sizes) >= WORTH and max(sizes) < ALIKE * min(sizes)


def deliver(session: Session, args: Mapping[str, Any], source: Stream, on_event: OnEvent) -> dict[str, Any]:
    """Send layers; return what `provisioning.node.receive_layers` has loaded and holds.

    Raises
    ------
    ProvisionError
        When the engine here does not give them out, or the node is lost.
    """
    try:
        return session.call(PROGRAM, args, data=source.pieces(), on_event=on_event)
    finally:
        source.stop()


class Stream:
    """Layers on their way out of the driver's engine, into its store and onto the wire.

    Parameters
    ----------
    images : sequence of Built
    layers : collection of str
        Those that travel.
    store : LayerStore
    throttle : Throttle, optional
        Says when bytes may leave.
    """

    def __init__(
        self,
        images: Sequence[Built],
        layers: Collection[str],
        store: LayerStore,
        throttle: Throttle | None = None,
    ) -> None:
        self._images, self._layers, self._store = images, layers, store
        self._throttle = throttle or Throttle(None)
        self._stacks = {
            layer: list(image.layers[: place + 1]) for image in images for place, layer in enumerate(image.layers)
        }
        self._ready: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._error: ProvisionError | None = None

    def pieces(self) -> Iterator[bytes]:
        """Yield what travels, while a thread packs it."""
        thread = threading.Thread(target=self._pack, name="pack", daemon=True)
        thread.start()
        try:
            while (piece := self._ready.get()) is not None:
                self._throttle.take(len(piece))
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            self.stop()
            thread.join()

    def stop(self) -> None:
        """Let the packing thread end: nobody takes what it makes any more."""
        self._stopped.set()

    def _pack(self) -> None:
        try:
            export(self._images, self._layers, self._store, self._send)
        except ProvisionError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that sends
            self._error = ProvisionError(f"layers cannot be packed: {error!r}", remedy="run it again with -v")
        finally:
            with contextlib.suppress(NodeError):
                self._put(None)

    def _send(self, layer: str, pieces: Iterator[bytes], size: int | None = None) -> None:
        self._tell({"layer": layer, "size": size, "stack": self._stacks[layer]})
        try:
            entry = self._store.put(layer, pieces, tell=lambda block: self._put(b"B" + block))
        except (WrongLayerError, OSError, EOFError, ValueError, KeyError):
            self._tell({"drop": True})  # it comes again, saved by the engine
            raise
        self._tell({"path": entry.path, "sha256": entry.sha256})

    def _tell(self, message: Mapping[str, Any]) -> None:
        self._put(b"J" + json.dumps(message).encode())

    def _put(self, piece: bytes | None) -> None:
        while not self._stopped.is_set():
            try:
                self._ready.put(piece, timeout=_BEAT)
            except queue.Full:
                continue
            return
        raise NodeError("nobody takes the layers any more", remedy="run it again")
