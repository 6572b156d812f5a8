"""How layers and configurations leave the driver's engine: read from its storage where that may be, else saved.

``docker save`` always writes all layers of an image, also those nobody asked for. Root can have a single layer at once:
a classic store keeps, beside the unpacked files, the headers of the archive they came in (tar-split), from which the
very same archive is put together again. Nothing is believed: each layer is compared with its digest where it is kept.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from provisioning.errors import ProvisionError
from provisioning.node import docker
from provisioning.node.layers import chains
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.resources.images.build import Built

CHUNK = 1 << 20
_FILE, _SEGMENT = 1, 2

Sink = Callable[[str, Iterator[bytes], int | None], object]
"""Takes a layer's digest, its archive in pieces and the bytes of these, where they are known beforehand; raises
`WrongLayerError` when they do not belong together."""


class WrongLayerError(Exception):
    """What came out for a layer does not have its digest."""


def take_out(images: Sequence[Built], wanted: Collection[str], sink: Sink, scratch: Path) -> dict[str, bytes]:
    """Hand layers of images to `sink`.

    Parameters
    ----------
    images : sequence of Built
        Images of the driver's engine.
    wanted : collection of str
        Digests of the layers that are needed; each is handed over once.
    sink : callable
    scratch : Path
        Folder for an archive of all images, should one be needed.

    Returns
    -------
    dict of str to bytes
        The configuration of each image, by its name.

    Raises
    ------
    ProvisionError
        When the engine gives out neither.
    """
    try:
        engine = docker.engine()
        storage = Storage(Path(engine["root"]))
        taken: set[str] = set()
        configs: dict[str, bytes] = {}
        if engine["store"] == "classic" and engine["driver"] == "overlay2":
            for image in images:
                config = storage.config(image.id)
                if config is not None:
                    configs[image.name] = config
                taken |= storage.take_out(image.layers, set(wanted) - taken, sink)
        if len(configs) < len(images) or set(wanted) - taken:
            configs |= _saved(images, set(wanted) - taken, sink, scratch)
    except RefusedError as error:
        raise ProvisionError(f"the driver cannot save images: {error}", remedy=error.remedy) from error
    return configs


class Storage:
    """The storage of a classic engine with overlay2, as far as this user may read it.

    Parameters
    ----------
    root : Path
        The engine's folder, ``/var/lib/docker``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def config(self, image: str) -> bytes | None:
        """Return an image's configuration, whose digest is its id; None when it cannot be had here."""
        try:
            text = (self._root / "image/overlay2/imagedb/content/sha256" / image.removeprefix("sha256:")).read_bytes()
        except OSError:
            return None
        return text if hashlib.sha256(text).hexdigest() == image.removeprefix("sha256:") else None

    def take_out(self, layers: Sequence[str], wanted: Collection[str], sink: Sink) -> set[str]:
        """Hand those layers of a stack to `sink` that can be had here; return them."""
        taken = set()
        for layer, chain in zip(layers, chains(layers), strict=True):
            if layer in wanted and layer not in taken:
                try:
                    sink(layer, self._pieces(chain), self._size(chain))
                except (OSError, EOFError, ValueError, KeyError, WrongLayerError):
                    continue  # not root, another version of the storage, or a layer that is going: it is saved instead
                taken.add(layer)
        return taken

    def _record(self, chain: str) -> Path:
        return self._root / "image/overlay2/layerdb/sha256" / chain.removeprefix("sha256:")

    def _size(self, chain: str) -> int:
        size = 0
        with gzip.open(self._record(chain) / "tar-split.json.gz") as lines:
            for line in lines:
                entry = json.loads(line)
                segment = entry["type"] == _SEGMENT
                size += len(base64.b64decode(entry["payload"])) if segment else int(entry.get("size") or 0)
        return size

    def _pieces(self, chain: str) -> Iterator[bytes]:
        record = self._record(chain)
        files = self._root / "overlay2" / (record / "cache-id").read_text(encoding="ascii").strip() / "diff"
        with gzip.open(record / "tar-split.json.gz") as lines:
            for line in lines:
                entry = json.loads(line)
                if entry["type"] == _SEGMENT:
                    yield base64.b64decode(entry["payload"])
                elif entry["type"] == _FILE and entry.get("size"):
                    name = entry.get("name") or base64.b64decode(entry["name_raw"]).decode("utf-8", "surrogateescape")
                    yield from _read(files / name.lstrip("/"))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while piece := handle.read(CHUNK):
            yield piece


def _saved(images: Sequence[Built], wanted: set[str], sink: Sink, scratch: Path) -> dict[str, bytes]:
    """Let the engine save the images, and take what is wanted out of its archive."""
    configs = {}
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=scratch) as folder:
        file = Path(folder, "images.tar")
        docker.docker("save", "--output", str(file), *(image.name for image in images), timeout=None)
        with tarfile.open(file) as archive:
            rows: list[Mapping[str, Any]] = json.loads(_member(archive, "manifest.json").read())
            tags = {docker.plain(tag): row for row in rows for tag in row["RepoTags"] or ()}
            for image in images:
                row = tags[docker.plain(image.name)]
                configs[image.name] = _member(archive, row["Config"]).read()
                if tuple(json.loads(configs[image.name])["rootfs"]["diff_ids"]) != image.layers:
                    raise ProvisionError(
                        f"{image.name} changed on the driver while it was saved", remedy="run it again"
                    )
                for layer, name in zip(image.layers, row["Layers"], strict=True):
                    if layer in wanted:
                        _hand_over(layer, _member(archive, name), sink)
                        wanted.discard(layer)
    return configs


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a member; layers that occur twice are links to each other in archives of older engines."""
    found = archive.extractfile(name)
    if found is None:
        raise ProvisionError(f"what the driver's engine saved has no file {name}", remedy="see whether it is healthy")
    return found


def _hand_over(layer: str, file: IO[bytes], sink: Sink) -> None:
    packed = file.read(2) == b"\x1f\x8b"  # a containerd store gives layers out as they were pulled
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if packed else file
    size = None if packed else file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        sink(layer, iter(lambda: stream.read(CHUNK), b""), size)
    except WrongLayerError as error:
        raise ProvisionError(
            f"the driver's engine saved other bytes for layer {layer}: {error}",
            remedy="see whether its disk is healthy, or build the image anew",
        ) from error
