"""Images that are loaded from their layers: what travels to a node, and what is asked of it then."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import ProvisionError
from provisioning.node import docker
from provisioning.node.tools import RefusedError
from provisioning.resources.base import Change, Finding, OnEvent, Task
from provisioning.resources.images import streaming
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.shipment import Piece, pieces

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.resources.images.build import Built
    from provisioning.resources.images.order import Order
    from provisioning.resources.images.packer import Form
    from provisioning.resources.images.wanted import ImagesPlan
    from provisioning.transfer.feed import Throttle

NAME = "images"


def layers_on_node(cluster: Cluster) -> PurePosixPath:
    """Return the folder of packed layers on every node."""
    return cluster.state / "store" / "images"


def ledger(node: Node) -> str:
    """Return the name of a node's own notes in a store that it may share with others."""
    return f"refused-{hashlib.sha256(node.name.encode()).hexdigest()[:16]}.json"


def load_change(
    node: Node, observed: Mapping[str, Any], plan: ImagesPlan, lacking: Sequence[Built], order: Order
) -> Change:
    """Return the change that brings images by their layers."""
    replaced = sum(1 for image in lacking if observed["images"].get(image.name) is not None)
    reasons = sorted({observed["refused"][image.id] for image in lacking if image.id in observed["refused"]})
    title = f"load {len(lacking)} images" + (f", {replaced} of them in place of others" if replaced else "")
    if reasons:
        title += f", with all layers ({'; '.join(reasons)})"
    sent = [layer for layer in order.layers if layer not in order.receiver.held]
    size = plan.unpacked(lacking, sent)
    names = ", ".join(image.name for image in lacking)
    return Change(node.name, NAME, f"{title}: {names}", size, {"load": order.to_json()})


def tops(node: Node) -> str:
    """Return the name of a node's note of images that only stand for layers."""
    return ledger(node).replace("refused", "tops")


def raw(node: Node) -> str:
    """Return the name of a node's note of images whose layers its containerd store has as they travel."""
    return ledger(node).replace("refused", "raw")


def streamed(task: Task[ImagesPlan], order: Order, throttle: Throttle, on_event: OnEvent) -> Order:
    """Send layers of an order while they are packed; return what is to be loaded now, the rest is still due then."""
    store = LayerStore()
    try:
        images = streaming.foremost([task.desired.images[name] for name in order.images], docker.steps)
    except RefusedError as error:
        raise ProvisionError(f"the driver cannot look at its images: {error}", remedy=error.remedy) from error
    coming = {layer for image in images for layer in image.layers}
    order = replace(
        order,
        images=tuple(image.name for image in images),
        layers=tuple(layer for layer in order.layers if layer in coming),
    )
    arguments = {
        "store": str(layers_on_node(task.cluster)),
        "tops": tops(task.node),
        "machine": images[0].machine,
    }
    source = streaming.Stream(images, order.layers, store, throttle)
    came = streaming.deliver(task.session, arguments, source, on_event)
    store.sweep(task.cluster.limits.layer_store << 30, order.layers)
    for image in images:
        store.remember(image.name, image.layers)
    held: dict[str, tuple[str, Form]] = {layer: (path, "zst") for layer, path in came["held"].items()}
    left = tuple(layer for layer in order.layers if layer not in came["loaded"])
    return replace(order, layers=left, receiver=replace(order.receiver, held=held))


def order_pieces(store: LayerStore, plan: ImagesPlan, order: Order) -> list[Piece]:
    """Return how a node comes by the layers of its order."""
    names = {layer: name for name in order.images for layer in plan.images[name].layers}
    return pieces(store, order.layers, order.receiver, names)


def document(store: LayerStore, plan: ImagesPlan, order: Order) -> dict[str, Any]:
    """Return what `provisioning.node.load_images` needs."""
    images = [
        {"name": name, "config": store.config(plan.images[name].id), "layers": list(plan.images[name].layers)}
        for name in order.images
    ]
    return {
        "images": images,
        "pieces": [piece.to_json() for piece in order_pieces(store, plan, order)],
        "whole": order.whole,
        # a manifest tells the sizes of all layers, also of those that are left out
        "sizes": None
        if order.store == "classic"
        else {layer: store.raw_size(layer) for name in order.images for layer in plan.images[name].layers},
    }


def room(node: Node, observed: Mapping[str, Any], size: int) -> list[Finding]:
    """Return what is too small: archive and unpacked archive, and the layers themselves, lie there at one time."""
    engine, store = observed["room"], observed["store_room"]
    shared = engine["device"] == store["device"]
    wishes = [("the Docker engine", engine, 2 * size + (size if shared else 0))]
    wishes += [] if shared else [("the state folder", store, size)]
    findings = []
    for what, place, need in wishes:
        if place["free"] < need:
            why = f"{need} bytes have to fit on the file system of {what}, {place['free']} are free"
            findings.append(Finding(node.name, NAME, why, "remove images nobody needs, or make room"))
    if not store["writable"]:
        why = f"{store['nearest']} cannot be written to"
        findings.append(Finding(node.name, NAME, why, "give it to this user"))
    return findings
