"""Which images nodes must have: those of the driver, and recipes of those that nodes build themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.node import docker
from provisioning.node.docker import plain, same
from provisioning.node.room import free_memory
from provisioning.node.tools import RefusedError
from provisioning.resources.images.build import Built, ensure
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.recipes import Recipe, recipes
from provisioning.resources.images.ways import LOADED, Way

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Image
    from provisioning.resources.base import Needs


@dataclass(frozen=True, slots=True)
class ImagesPlan:
    """The images that every node must have.

    Attributes
    ----------
    images : mapping of str to Built
        Those of the driver, by name; also bases of images that are built on the nodes.
    sizes : mapping of str to int
        Bytes of layers that are known.
    memory : int
        Bytes of memory that are free on the driver.
    recipes : mapping of str to Recipe
        What images may have been built of on a node, where the cluster file allows that, by name.
    way : Way
    """

    images: Mapping[str, Built]
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory: int = 0
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    way: Way = LOADED

    @property
    def names(self) -> list[str]:
        """The names of all images that are wanted; bases are means only."""
        bases = {base.name for recipe in self.built.values() for base in recipe.bases}
        return [*(name for name in self.images if name not in bases), *self.built]

    @property
    def built(self) -> dict[str, Recipe]:
        """The recipes of images that nodes build themselves."""
        return {name: recipe for name, recipe in self.recipes.items() if name not in self.images}

    def right(self, name: str, seen: Mapping[str, Any] | None, store: str) -> bool:
        """Return whether what a node has under a name is the wanted image, by content or, where allowed, by context."""
        image, recipe = self.images.get(name), self.recipes.get(name)
        by_content = image is not None and same(None if seen is None else dict(seen), image.wanted(), store)
        return by_content or (recipe is not None and recipe.made(seen))

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


def planned(cluster: Cluster, images: Sequence[Image], way: Way) -> ImagesPlan:
    """Build on the driver what has changed, unless nodes are to build it, and say what every node must have.

    Raises
    ------
    ProvisionError
        When an image can neither be found nor built.
    """
    there = way.via == "build"
    made = recipes(images) if cluster.push.by_context else {}
    built = ensure([image for image in images if not (there and image.context is not None)])
    if there:
        built |= {base.name: base for recipe in made.values() for base in recipe.bases if base.name not in built}
    store = LayerStore()
    layers = {layer for image in built.values() for layer in image.layers}
    sizes = {layer: size for layer in layers if (size := store.raw_size(layer)) is not None}
    return ImagesPlan(built, sizes, free_memory(), made, way)


def chosen(cluster: Cluster, needs: Needs | None) -> tuple[Image, ...]:
    """Return the images of the cluster file that are meant.

    Raises
    ------
    UsageError
        When an experiment needs one that the file does not name.
    """
    if needs is None:
        return cluster.images
    known = {plain(image.name): image for image in cluster.images}
    found = []
    for name in needs.images:
        image = known.get(plain(name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"))
        if image is None:
            raise UsageError(
                f"the experiment uses the image {name}, which {cluster.file} does not name",
                remedy="add an [[images]] table with this name",
            )
        found.append(image)
    return tuple(found)


def by_context(cluster: Cluster, seen: Mapping[str, tuple[str, str, str]], store: str) -> dict[str, str]:
    """Return which images of a node stand for the wanted ones by their context alone, with its digest.

    Parameters
    ----------
    cluster : Cluster
    seen : mapping of str to (str, str, str)
        Name -> id, print and context label of what the node has.
    store : str
        Kind of its image store.
    """
    labelled = [image.name for image in cluster.images if image.context is not None and image.name in seen]
    if not cluster.push.by_context or not labelled:
        return {}
    try:
        kind, here = docker.engine()["store"], docker.inspect(labelled)
    except RefusedError:
        kind, here = "", dict.fromkeys(labelled)  # without an engine the driver has nothing to be equal to
    weak = {}
    for name in labelled:
        own, (identity, content, label) = here[name], seen[name]
        wanted = None if own is None else {"id": own["id"], "print": own["print"], "store": kind}
        if label and (wanted is None or not same({"id": identity, "print": content}, wanted, store)):
            weak[name] = label
    return weak
