"""Images that nodes build themselves: equal by context and base, which proves less than equal content."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.resources.environment.wheels import keep
from provisioning.resources.images import context
from provisioning.resources.images.build import Built, built_on

if TYPE_CHECKING:
    from provisioning.inventory import Image
    from provisioning.manifest import Entry


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is built of.

    Attributes
    ----------
    name : str
    folder : Path
        The context on the driver.
    digest : str
        Sha256 (hex) of the packed context and the identities of its bases; the label of what was built of it.
    bases : tuple of Built
        The images that it builds on, as the driver has them.
    """

    name: str
    folder: Path
    digest: str
    bases: tuple[Built, ...]

    def made(self, seen: Mapping[str, Any] | None) -> bool:
        """Return whether an image was built of this: it says so, and it stands on the very layers of a base of it."""
        if seen is None or seen["context"] != self.digest:
            return False
        return not self.bases or any(tuple(seen["layers"][: len(base.layers)]) == base.layers for base in self.bases)

    def to_json(self, path: str) -> dict[str, Any]:
        """Return what `provisioning.node.build_images` needs; `path` is the packed context in the node's store."""
        bases = {base.name: {**base.wanted(), "layers": list(base.layers)} for base in self.bases}
        return {"name": self.name, "context": self.digest, "path": path, "bases": bases}

    def packed(self, store: Path) -> Entry:
        """Pack the context into a store."""
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".packing-", dir=store) as scratch:
            file = Path(scratch, f"{self.digest}.context.tar")
            with file.open("wb") as target:
                context.pack(self.folder, target)
            return keep(file, store)


def bases_of(image: Image) -> tuple[str, ...]:
    """Return the names of the images that an image builds on; none when it is not built here.

    Raises
    ------
    UsageError
        When the Dockerfile does not name them.
    """
    if image.context is None:
        return ()
    text = (image.context / "Dockerfile").read_text(encoding="utf-8")
    unnamed = context.unnamed_bases(text)
    if unnamed:
        raise UsageError(
            f"{image.context / 'Dockerfile'} builds on {unnamed[0]}: nothing proves what that is on each node",
            remedy="write the name of the image after FROM, or push this image with --via load",
        )
    return context.bases(text)


def recipes(images: Sequence[Image]) -> dict[str, Recipe]:
    """Return the recipe of each image that has a context; nothing is built.

    Raises
    ------
    ProvisionError
        When a base is neither on the driver nor can it be pulled.
    """
    found = {}
    for image in images:
        if image.context is not None:
            bases = built_on(image.name, bases_of(image))
            with tempfile.TemporaryFile() as packed:
                context.pack(image.context, packed)
                digest = context.digest(packed, {base.name: base.id for base in bases})
            found[image.name] = Recipe(image.name, image.context, digest, bases)
    return found


def stored(recipe: Recipe, paths: Collection[str]) -> str | None:
    """Return where a store already has the packed context of a recipe."""
    return next((path for path in paths if path.endswith(f"/{recipe.digest}.context.tar")), None)
