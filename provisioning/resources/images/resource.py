"""The images as a resource: a node's engine has exactly those of the driver, or gets the ones it lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.manifest import Manifest
from provisioning.node.docker import plain, same
from provisioning.node.room import free_memory
from provisioning.resources.base import Change, Difference, Facts, Finding, Needs, OnEvent, Parcel, Task, Work
from provisioning.resources.images.build import Built, ensure, export
from provisioning.resources.images.order import Order, order_of
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.shipment import Piece, pieces

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Image, Node

# names of one architecture: the kernel's and Docker's
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class ImagesPlan:
    """The images of the driver that every node must have.

    Attributes
    ----------
    images : mapping of str to Built
        By name.
    sizes : mapping of str to int
        Bytes of layers that are known.
    memory : int
        Bytes of memory that are free on the driver.
    """

    images: Mapping[str, Built]
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory: int = 0

    def unpacked(self, images: Sequence[Built], layers: Collection[str]) -> int:
        """Return the bytes of layers of images; for one that was never seen alone, of all that is not known."""
        wanted, total = set(layers), 0
        for image in images:
            mine = wanted & set(image.layers)
            wanted -= mine
            known = {layer: self.sizes[layer] for layer in image.layers if layer in self.sizes}
            total += sum(known.get(layer, 0) for layer in mine)
            if mine - known.keys():
                total += max(0, image.size - sum(known.values()))
        return total


class ImagesResource:
    """Algorithm images in the Docker engine of every node."""

    name = "images"
    program = "provisioning.node.observe_images"

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return none: what is settled, an engine's images, is each node's own."""
        del cluster
        return ()

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Ask for the images by name."""
        names = [image.name for image in _chosen(cluster, needs)]
        return {"names": names, "store": str(layers_on_node(cluster)), "ledger": ledger(node)}

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> ImagesPlan:
        """Build what has changed and look at the result; one image serves all nodes."""
        del facts
        images = ensure(_chosen(cluster, needs))
        store = LayerStore()
        layers = {layer for image in images.values() for layer in image.layers}
        sizes = {layer: size for layer in layers if (size := store.raw_size(layer)) is not None}
        return ImagesPlan(images, sizes, free_memory())

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: ImagesPlan) -> Difference:
        """Compare identities: what is there under another name is tagged, what is not there is sent."""
        del cluster
        if not desired.images:
            return Difference()
        if observed["engine"] is None:
            why = f"no Docker engine is reached: {observed['why']}"
            return Difference(findings=(Finding(node.name, self.name, why, observed["remedy"]),))
        kind, machine = observed["engine"]["store"], observed["engine"]["machine"]
        findings, tags, lacking = [], {}, []
        for image in desired.images.values():
            if same(observed["images"].get(image.name), image.wanted(), kind):
                continue
            if _MACHINES.get(machine, machine) != image.machine:
                why = f"{image.name} is built for {image.machine}, the node is {machine}"
                findings.append(Finding(node.name, self.name, why, "build it on a driver of the node's architecture"))
            elif image.id in observed["ids"] and kind == image.store:
                tags[image.name] = image.id
            else:
                lacking.append(image)
        changes = []
        if tags:
            title = f"tag {len(tags)} images that are there: {', '.join(tags)}"
            changes.append(Change(node.name, self.name, title, detail={"tag": tags}))
        if lacking:
            order = order_of(observed, lacking, desired.memory)
            changes.append(_load_change(node, observed, desired, lacking, order))
            findings += _room(node, observed, desired.unpacked(lacking, order.layers))
        return Difference(tuple(changes), tuple(findings))

    def bring(self, work: Work[ImagesPlan]) -> Sequence[Parcel]:
        """Return the layers and patches that are lacking somewhere; what several nodes lack is packed once."""
        store = LayerStore()
        orders = {
            name: Order.from_json(change.detail["load"])
            for name, difference in work.differences.items()
            for change in difference.changes
            if "load" in change.detail
        }
        if not orders:
            return []
        names = {name for order in orders.values() for name in order.images}
        images = [work.desired.images[name] for name in sorted(names)]
        layers = {layer for order in orders.values() for layer in order.layers}
        export(images, layers, store)
        # before anything is chosen: `settle` asks again what to send, and must get the same answer
        store.sweep(work.cluster.limits.layer_store << 30, layers)
        for image in images:
            store.remember(image.name, image.layers)
        entries, missing = {}, {}
        for name, order in orders.items():
            sent = [piece.sent for piece in _pieces(store, work.desired, order) if piece.sent is not None]
            entries.update({entry.path: entry for entry in sent})
            missing[name] = tuple(sorted({entry.path for entry in sent}))
        missing = {name: paths for name, paths in missing.items() if paths}
        if not missing:
            return []
        return [Parcel(self.name, store.folder, Manifest.of(entries.values()), layers_on_node(work.cluster), missing)]

    def settle(self, task: Task[ImagesPlan], on_event: OnEvent) -> None:
        """Load, tag, and prove by identity."""
        store = LayerStore()
        tags: dict[str, str] = {}
        order = None
        for change in task.difference.changes:
            tags |= change.detail.get("tag", {})
            if "load" in change.detail:
                order = Order.from_json(change.detail["load"])
        names = [*tags, *(order.images if order else ())]
        task.session.call(
            "provisioning.node.settle_images",
            {
                "store": str(layers_on_node(task.cluster)),
                "ledger": ledger(task.node),
                "load": None if order is None else _document(store, task.desired, order),
                "images": {name: task.desired.images[name].wanted() for name in names},
                "tag": tags,
                "most": task.cluster.limits.layer_store << 30,
            },
            on_event=on_event,
        )


def _load_change(
    node: Node, observed: Mapping[str, Any], plan: ImagesPlan, lacking: Sequence[Built], order: Order
) -> Change:
    replaced = sum(1 for image in lacking if observed["images"].get(image.name) is not None)
    reasons = sorted({observed["refused"][image.id] for image in lacking if image.id in observed["refused"]})
    title = f"load {len(lacking)} images" + (f", {replaced} of them in place of others" if replaced else "")
    if reasons:
        title += f", with all layers ({'; '.join(reasons)})"
    sent = [layer for layer in order.layers if layer not in order.receiver.held]
    size = plan.unpacked(lacking, sent)
    names = ", ".join(image.name for image in lacking)
    return Change(node.name, ImagesResource.name, f"{title}: {names}", size, {"load": order.to_json()})


def _pieces(store: LayerStore, plan: ImagesPlan, order: Order) -> list[Piece]:
    names = {layer: name for name in order.images for layer in plan.images[name].layers}
    return pieces(store, order.layers, order.receiver, names)


def _document(store: LayerStore, plan: ImagesPlan, order: Order) -> dict[str, Any]:
    """Return what `provisioning.node.load_images` needs."""
    images = [
        {"name": name, "config": store.config(plan.images[name].id), "layers": list(plan.images[name].layers)}
        for name in order.images
    ]
    return {
        "images": images,
        "pieces": [piece.to_json() for piece in _pieces(store, plan, order)],
        "whole": order.whole,
    }


def layers_on_node(cluster: Cluster) -> PurePosixPath:
    """Return the folder of packed layers on every node."""
    return cluster.state / "store" / "images"


def ledger(node: Node) -> str:
    """Return the name of a node's own notes in a store that it may share with others."""
    return f"refused-{hashlib.sha256(node.name.encode()).hexdigest()[:16]}.json"


def _chosen(cluster: Cluster, needs: Needs | None) -> tuple[Image, ...]:
    if needs is None:
        return cluster.images
    known = {plain(image.name): image for image in cluster.images}
    chosen = []
    for name in needs.images:
        image = known.get(plain(name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"))
        if image is None:
            raise UsageError(
                f"the experiment uses the image {name}, which {cluster.file} does not name",
                remedy="add an [[images]] table with this name",
            )
        chosen.append(image)
    return tuple(chosen)


def _room(node: Node, observed: Mapping[str, Any], size: int) -> list[Finding]:
    """Return what is too small: archive and unpacked archive, and the layers themselves, lie there at one time."""
    engine, store = observed["room"], observed["store_room"]
    shared = engine["device"] == store["device"]
    wishes = [("the Docker engine", engine, 2 * size + (size if shared else 0))]
    wishes += [] if shared else [("the state folder", store, size)]
    findings = []
    for what, room, need in wishes:
        if room["free"] < need:
            why = f"{need} bytes have to fit on the file system of {what}, {room['free']} are free"
            findings.append(Finding(node.name, ImagesResource.name, why, "remove images nobody needs, or make room"))
    if not store["writable"]:
        why = f"{store['nearest']} cannot be written to"
        findings.append(Finding(node.name, ImagesResource.name, why, "give it to this user"))
    return findings
