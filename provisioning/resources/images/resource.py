"""The images as a resource: a node's engine has exactly those of the driver, or gets the ones it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.manifest import Manifest
from provisioning.node.zstd import has_zstd
from provisioning.resources.base import Change, Difference, Facts, Finding, Needs, OnEvent, Parcel, Task, Work
from provisioning.resources.images import loading, registry, ways
from provisioning.resources.images.build import Built, export
from provisioning.resources.images.loading import layers_on_node, ledger
from provisioning.resources.images.order import Order, order_of
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.recipes import bases_of, stored
from provisioning.resources.images.streaming import worthwhile
from provisioning.resources.images.wanted import ImagesPlan, chosen, planned
from provisioning.transfer.feed import Throttle

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.manifest import Entry
    from provisioning.resources.images.ways import Way

# names of one architecture: the kernel's and Docker's
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class ImagesResource:
    """Algorithm images in the Docker engine of every node.

    Parameters
    ----------
    way : Way, optional
        How they get there; as the cluster file says when None.
    bwlimit : int, optional
        Bytes per second of layers that leave while they are packed.
    """

    name = loading.NAME
    program = "provisioning.node.observe_images"

    def __init__(self, way: Way | None = None, bwlimit: int | None = None) -> None:
        self._asked = way
        self._throttle = Throttle(bwlimit)
        self._registry: registry.Registry | None = None
        self._contexts: dict[str, str] = {}
        self._streams = False

    def _way(self, cluster: Cluster) -> Way:
        return self._asked or ways.chosen(cluster)

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return none: what is settled, an engine's images, is each node's own."""
        del cluster
        return ()

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Ask for the images by name, and for what those build on that nodes build."""
        images = chosen(cluster, needs)
        names = [image.name for image in images]
        if self._way(cluster).via == "build":
            names += [base for image in images for base in bases_of(image)]
        return {
            "names": list(dict.fromkeys(names)),
            "store": str(layers_on_node(cluster)),
            "ledger": ledger(node),
            "raw": loading.raw(node),
        }

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> ImagesPlan:
        """Build what has changed and look at the result; one image serves all nodes."""
        del facts
        return planned(cluster, chosen(cluster, needs), self._way(cluster))

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: ImagesPlan) -> Difference:
        """Compare identities: what is there under another name is tagged, what is not there comes the chosen way."""
        del cluster
        if not desired.names:
            return Difference()
        if observed["engine"] is None:
            why = f"no Docker engine is reached: {observed['why']}"
            return Difference(findings=(Finding(node.name, self.name, why, observed["remedy"]),))
        kind, machine = observed["engine"]["store"], observed["engine"]["machine"]
        lacking = [name for name in desired.names if not desired.right(name, observed["images"].get(name), kind)]
        building = [name for name in lacking if name in desired.built]
        bases = {base.name: base for name in building for base in desired.built[name].bases}
        coming = [desired.images[name] for name in lacking if name in desired.images]
        coming += [base for name, base in bases.items() if not desired.right(name, observed["images"].get(name), kind)]
        findings, tags, sent = [], {}, []
        for image in coming:
            if _MACHINES.get(machine, machine) != image.machine:
                why = f"{image.name} is built for {image.machine}, the node is {machine}"
                findings.append(Finding(node.name, self.name, why, "build it on a driver of the node's architecture"))
            elif image.id in observed["ids"] and kind == image.store:
                tags[image.name] = image.id
            else:
                sent.append(image)
        changes = []
        if tags:
            title = f"tag {len(tags)} images that are there: {', '.join(tags)}"
            changes.append(Change(node.name, self.name, title, detail={"tag": tags}))
        if sent:
            change = self._pull(node, sent, desired.way) if desired.way.pulls else _load(node, observed, desired, sent)
            changes.append(change)
            size = desired.unpacked(sent, change.detail["load"]["layers"]) if "load" in change.detail else change.size
            findings += loading.room(node, observed, size)
        if building:
            title = f"build {len(building)} images there, equal by context, not by content: {', '.join(building)}"
            changes.append(
                Change(node.name, self.name, title, detail={"build": _contexts(observed, building, desired)})
            )
        return Difference(tuple(changes), tuple(findings))

    def _pull(self, node: Node, images: Sequence[Built], way: Way) -> Change:
        where = way.registry or "a registry of our own"
        title = f"pull {len(images)} images from {where}: {', '.join(image.name for image in images)}"
        size = sum(image.size for image in images)
        return Change(node.name, self.name, title, size, {"pull": [image.name for image in images]})

    def bring(self, work: Work[ImagesPlan]) -> Sequence[Parcel]:
        """Return layers, patches and contexts that are lacking somewhere; what nodes pull is pushed now, once."""
        details = {
            name: [change.detail for change in difference.changes] for name, difference in work.differences.items()
        }
        pulled = {name for each in details.values() for detail in each for name in detail.get("pull", ())}
        if pulled:
            self._open(work).push([work.desired.images[name] for name in sorted(pulled)])
        store = LayerStore()
        orders = _orders(details)
        sizes = {name: image.size for name, image in work.desired.images.items()}
        self._streams = worthwhile(orders, sizes, store, len(work.differences)) and has_zstd()
        entries, missing = self._layers(work, store, {} if self._streams else orders)
        for node, each in details.items():
            for name in (name for detail in each for name, path in detail.get("build", {}).items() if path is None):
                entry = work.desired.recipes[name].packed(store.folder)
                entries[entry.path], self._contexts[name] = entry, entry.path
                missing.setdefault(node, set()).add(entry.path)
        if not missing and not orders:
            return []
        lacks = {node: tuple(sorted(paths)) for node, paths in missing.items()}
        return [Parcel(self.name, store.folder, Manifest.of(entries.values()), layers_on_node(work.cluster), lacks)]

    def _layers(
        self, work: Work[ImagesPlan], store: LayerStore, orders: Mapping[str, Order]
    ) -> tuple[dict[str, Entry], dict[str, set[str]]]:
        """Return the files that carry layers to nodes, and which of them each node lacks; packed once for all."""
        entries: dict[str, Entry] = {}
        missing: dict[str, set[str]] = {}
        if orders:
            names = {name for order in orders.values() for name in order.images}
            images = [work.desired.images[name] for name in sorted(names)]
            layers = {layer for order in orders.values() for layer in order.layers}
            export(images, layers, store)
            # before anything is chosen: `settle` asks again what to send, and must get the same answer
            store.sweep(work.cluster.limits.layer_store << 30, layers)
            for image in images:
                store.remember(image.name, image.layers)
        for node, order in orders.items():
            for piece in loading.order_pieces(store, work.desired, order):
                if piece.sent is not None:
                    entries[piece.sent.path] = piece.sent
                    missing.setdefault(node, set()).add(piece.sent.path)
        return entries, missing

    def settle(self, task: Task[ImagesPlan], on_event: OnEvent) -> None:
        """Load, pull, tag, build, and prove by identity."""
        plan, details = task.desired, [change.detail for change in task.difference.changes]
        tags = {name: image for detail in details for name, image in detail.get("tag", {}).items()}
        order = _orders({"": details}).get("")
        if order is not None and self._streams:
            order = loading.streamed(task, order, self._throttle, on_event)
        names = [*tags, *(order.images if order else ())]
        if names:
            arguments: dict[str, Any] = {
                "store": str(layers_on_node(task.cluster)),
                "ledger": ledger(task.node),
                "load": None if order is None else loading.document(LayerStore(), plan, order),
                "images": {name: plan.images[name].wanted() for name in names},
                "tag": tags,
                "tops": loading.tops(task.node),
                "raw": loading.raw(task.node),
                "kind": None if order is None else order.store,
                "most": task.cluster.limits.layer_store << 30,
            }
            again = task.session.call("provisioning.node.settle_images", arguments, on_event=on_event)["again"]
            if again:
                return  # the next round brings them whole, and then builds on them
        pulled = [name for detail in details for name in detail.get("pull", ())]
        if pulled and self._registry is not None:  # `bring` has opened it
            self._pull_there(task, self._registry, pulled, on_event)
        building = {name: path for detail in details for name, path in detail.get("build", {}).items()}
        if building:
            images = [plan.recipes[name].to_json(path or self._contexts[name]) for name, path in building.items()]
            arguments = {"store": str(layers_on_node(task.cluster)), "images": images}
            task.session.call("provisioning.node.build_images", arguments, on_event=on_event)

    def _pull_there(
        self, task: Task[ImagesPlan], source: registry.Registry, names: Sequence[str], on_event: OnEvent
    ) -> None:
        port = source.loopback(task.node)
        images = {
            name: {**task.desired.images[name].wanted(), "reference": source.reference(task.node, name)}
            for name in names
        }
        arguments = {"images": images, "loopback": port}
        task.session.call("provisioning.node.pull_images", arguments, on_event=on_event)

    def _open(self, work: Work[ImagesPlan]) -> registry.Registry:
        if self._registry is None:
            host = work.desired.way.registry
            self._registry = registry.Named(host) if host else registry.Own(work.cluster)
        return self._registry

    def close(self) -> None:
        """End the registry, if it is one of our own."""
        if self._registry is not None:
            self._registry.close()
            self._registry = None


def _load(node: Node, observed: Mapping[str, Any], plan: ImagesPlan, images: Sequence[Built]) -> Change:
    return loading.load_change(node, observed, plan, images, order_of(observed, images, plan.memory, plan.sizes))


def _contexts(observed: Mapping[str, Any], names: Iterable[str], plan: ImagesPlan) -> dict[str, str | None]:
    paths = [path for path, _ in observed["store"]]
    return {name: stored(plan.recipes[name], paths) for name in names}


def _orders(details: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Order]:
    return {
        node: Order.from_json(detail["load"]) for node, each in details.items() for detail in each if "load" in detail
    }
