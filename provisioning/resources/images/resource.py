"""The images as a resource: a node's engine has exactly those of the driver, or gets the ones it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.manifest import Manifest
from provisioning.node.docker import plain, same
from provisioning.resources.base import Change, Difference, Facts, Finding, Needs, OnEvent, Parcel, Task, Work
from provisioning.resources.images.build import Built, archive_store, ensure, export

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Image, Node

# names of one architecture: the kernel's and Docker's
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class ImagesPlan:
    """The images of the driver that every node must have, by name."""

    images: Mapping[str, Built]


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
        del node
        return {"names": [image.name for image in _chosen(cluster, needs)], "store": str(archives_on_node(cluster))}

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> ImagesPlan:
        """Build what has changed and look at the result; one image serves all nodes."""
        del facts
        return ImagesPlan(ensure(_chosen(cluster, needs)))

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
            size = sum(image.size for image in lacking)
            replaced = sum(1 for image in lacking if observed["images"].get(image.name) is not None)
            title = f"load {len(lacking)} images" + (f", {replaced} of them in place of others" if replaced else "")
            names = [image.name for image in lacking]
            changes.append(Change(node.name, self.name, f"{title}: {', '.join(names)}", size, {"load": names}))
            findings += _room(node, observed, size)
        return Difference(tuple(changes), tuple(findings))

    def bring(self, work: Work[ImagesPlan]) -> Sequence[Parcel]:
        """Return one archive per set of images that is lacking somewhere."""
        sets: dict[tuple[str, ...], list[str]] = {}
        for name, difference in work.differences.items():
            for change in difference.changes:
                if "load" in change.detail:
                    sets.setdefault(tuple(change.detail["load"]), []).append(name)
        parcels = []
        for names, nodes in sets.items():
            entry = export([work.desired.images[name] for name in names])
            missing = dict.fromkeys(nodes, (entry.path,))
            target = archives_on_node(work.cluster)
            parcels.append(Parcel(self.name, archive_store(), Manifest.of([entry]), target, missing))
        return parcels

    def settle(self, task: Task[ImagesPlan], on_event: OnEvent) -> None:
        """Load, tag, and prove by identity."""
        tags: dict[str, str] = {}
        archive = None
        names: list[str] = []
        for change in task.difference.changes:
            tags |= change.detail.get("tag", {})
            names += change.detail.get("load", ())
        if names:
            entry = export([task.desired.images[name] for name in names])
            archive = [entry.path, entry.size, entry.sha256]
        task.session.call(
            "provisioning.node.settle_images",
            {
                "store": str(archives_on_node(task.cluster)),
                "archive": archive,
                "images": {name: task.desired.images[name].wanted() for name in (*names, *tags)},
                "tag": tags,
            },
            on_event=on_event,
        )


def archives_on_node(cluster: Cluster) -> PurePosixPath:
    """Return the folder of image archives on every node."""
    return cluster.state / "store" / "images"


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
