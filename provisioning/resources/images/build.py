"""Images on the driver: built when their context has changed, and their layers taken out for nodes that lack them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from provisioning.errors import ProvisionError
from provisioning.node import docker
from provisioning.node.builder import builder
from provisioning.node.tools import RefusedError, meanwhile
from provisioning.resources.images import context
from provisioning.resources.images.saving import take_out

if TYPE_CHECKING:
    from provisioning.inventory import Image
    from provisioning.resources.images.packed import LayerStore
    from provisioning.resources.images.saving import Sink

LABEL = "timeeval.context"
_ELSEWHERE = ("DOCKER_HOST", "DOCKER_CONTEXT")


@dataclass(frozen=True, slots=True)
class Built:
    """An image of the driver's engine.

    Attributes
    ----------
    name : str
        ``repository:tag``.
    id : str
        What the driver's engine calls it; in a classic store the digest of its configuration.
    print : str
        Digest of layers and configuration, the same in every kind of store.
    store : str
        Kind of the driver's image store.
    machine : str
        Architecture, as Docker names it.
    layers : tuple of str
        Digests of the uncompressed layers.
    size : int
        Bytes of its layers.
    """

    name: str
    id: str
    print: str
    store: str
    machine: str
    layers: tuple[str, ...]
    size: int

    def wanted(self) -> dict[str, Any]:
        """Return what a node compares with, for `provisioning.node.docker.same`."""
        return {"id": self.id, "print": self.print, "store": self.store}


def ensure(images: Sequence[Image]) -> dict[str, Built]:
    """Return the images by name; what has a context is built unless it has been built from the very same.

    Raises
    ------
    ProvisionError
        When the driver has no engine, a build fails, or an image without context does not exist.
    """
    if not images:
        return {}
    names = [image.name for image in images]
    bases = {image.name: _bases(image.context) for image in images if image.context is not None}
    try:
        # one look for all of it: each costs a process, and mostly nothing has changed
        every = list(dict.fromkeys([*names, *(base for each in bases.values() for base in each)]))
        looked = meanwhile(lambda: docker.inspect(every))
        kind, seen = docker.engine()["store"], looked()
        built: list[str] = []
        for image in images:
            if image.context is not None:
                if any(base in built for base in bases[image.name]):
                    seen |= docker.inspect(built)  # it may build on one that was built just now
                if _build(image, bases[image.name], seen):
                    built.append(image.name)
        found = docker.inspect(names) if built else {name: seen[name] for name in names}
    except RefusedError as error:
        raise ProvisionError(f"images cannot be built on the driver: {error}", remedy=error.remedy) from error
    missing = [name for name, seen in found.items() if seen is None]
    if missing:
        raise ProvisionError(
            f"the driver's engine has no image {', '.join(missing)}",
            remedy="build or pull it on the driver, or name its folder: context = ... under [[images]]",
        )
    return {name: _built(name, seen, kind) for name, seen in found.items() if seen is not None}


def _built(name: str, seen: Mapping[str, Any], kind: str) -> Built:
    return Built(name, seen["id"], seen["print"], kind, seen["machine"], tuple(seen["layers"]), seen["size"])


def _bases(folder: Path) -> tuple[str, ...]:
    return context.bases((folder / "Dockerfile").read_text(encoding="utf-8"))


def _build(image: Image, bases: Sequence[str], seen: Mapping[str, Any]) -> bool:
    """Build an image unless what is there was built of the very same; return whether that was necessary."""
    assert image.context is not None  # noqa: S101 - the caller has looked
    with tempfile.TemporaryFile() as packed:
        context.pack(image.context, packed)
        found = {base: seen[base] for base in bases if seen[base] is not None}
        found |= _pulled(image.name, [base for base in bases if base not in found])
        digest = context.digest(packed, {base: found[base]["id"] for base in bases})
        there = seen[image.name]
        if there is not None and there["context"] == digest:
            return False
        _run_build(image.name, digest, packed)
    return True


def built_on(name: str, bases: Sequence[str]) -> tuple[Built, ...]:
    """Return the images that an image builds on; pulled now where the driver has them not.

    Raises
    ------
    ProvisionError
        When one is neither here nor can it be pulled.
    """
    if not bases:
        return ()
    try:
        seen = docker.inspect(list(bases))
        found = {base: known for base, known in seen.items() if known is not None}
        found |= _pulled(name, [base for base in bases if base not in found])
        kind = docker.engine()["store"]
    except RefusedError as error:
        raise ProvisionError(f"images cannot be built on the driver: {error}", remedy=error.remedy) from error
    return tuple(_built(base, found[base], kind) for base in bases)


def _pulled(name: str, bases: Sequence[str]) -> dict[str, Any]:
    """Pull bases now and not by the build: the digest of the context must be the same before and after."""
    for base in bases:
        try:
            docker.docker("pull", "--quiet", base, timeout=None)
        except RefusedError as error:
            raise ProvisionError(
                f"{name} builds on {base}, which is neither here nor can it be pulled: {error}",
                remedy=f"build or load {base} on the driver",
            ) from error
    return docker.inspect(list(bases))


def _run_build(name: str, digest: str, packed: BinaryIO) -> None:
    done = subprocess.run(
        ["docker", "build", "--quiet", "--label", f"{LABEL}={digest}", "--tag", name, "-"],
        # the engine that everything else here asks: the one this user reaches without being told
        env={**{name: value for name, value in os.environ.items() if name not in _ELSEWHERE}, **builder()},
        stdin=packed,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-2000:]
        raise ProvisionError(f"building {name} failed: {words}", remedy="make `docker build` of its context work")


def export(images: Sequence[Built], layers: Collection[str], store: LayerStore, sink: Sink | None = None) -> None:
    """Bring layers and configurations of images into the driver's store; what is there is not asked for again.

    With a `sink`, it gets the layers, and brings them there.

    Raises
    ------
    ProvisionError
        When the engine does not give them out.
    """
    lacking = {layer for layer in layers if layer not in store}
    unknown = [image for image in images if store.config(image.id) is None]
    asked = [image for image in images if image in unknown or lacking & set(image.layers)]
    if not asked:
        return
    store.folder.mkdir(parents=True, exist_ok=True)
    configs = take_out(asked, lacking, sink or store.put, store.folder)
    now = docker.inspect([image.name for image in asked])
    moved = [image.name for image in asked if (now[image.name] or {}).get("id") != image.id]
    if moved:
        raise ProvisionError(f"{', '.join(moved)} changed on the driver while it was saved", remedy="run it again")
    for image in asked:
        store.put_config(image.id, configs[image.name])
