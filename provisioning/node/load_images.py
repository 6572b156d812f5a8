"""Put images together from the layers in a store and give them to the engine (>= 3.8).

A classic store takes an archive that leaves out the layers it has. Nothing is written in between: what is unpacked goes
straight into ``docker load``, its digest is told on the way, and the archive ends early when a layer turns out wrong.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Callable, Iterator

from provisioning.node.archive import Counted, DamagedError, add, blob, digest_of, engine, put
from provisioning.node.pack import CHUNK, unpacked
from provisioning.node.tools import RefusedError

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def load(store: Path, document: dict[str, Any], tell: Callable[[int], None]) -> None:
    """Load images.

    Parameters
    ----------
    store : Path
        Folder of the packed layers.
    document : dict
        ``images``: [{"name", "config" (text), "layers" (all of them)}]; ``pieces``: [{"layer", "size", "form", "path",
        "basis"}] of the layers that go into the archive; ``whole``: whether these are all of them; ``sizes``, where the
        engine wants a manifest: bytes of all layers.
    tell : callable
        Gets the bytes given to the engine so far, and the same again while the engine works.

    Raises
    ------
    DamagedError
        When the store is damaged; nothing was loaded then.
    RefusedError
        When the engine refuses.
    """
    with engine(tell) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        sizes = dict(document.get("sizes") or {}, **{piece["layer"]: piece["size"] for piece in document["pieces"]})
        layout = document["whole"] or document.get("sizes") is not None
        done = 0
        for piece in document["pieces"]:
            with _layer(store, piece) as source:
                add(archive, blob(piece["layer"]), piece["size"], Counted(source, piece, done, tell))
            done += piece["size"]
        rows, manifests = [], []
        for image in document["images"]:
            config = image["config"].encode("utf-8")
            digest = put(archive, config)
            layers = [blob(layer) for layer in image["layers"]]
            rows.append({"Config": blob(digest), "RepoTags": [image["name"]], "Layers": layers})
            if layout:  # an OCI manifest says the sizes of all layers
                manifests.append(_manifest(archive, image, config, sizes))
        if layout:
            put(archive, b'{"imageLayoutVersion":"1.0.0"}', "oci-layout")
            index = {"schemaVersion": 2, "manifests": manifests}
            put(archive, json.dumps(index).encode(), "index.json")
        put(archive, json.dumps(rows).encode(), "manifest.json")


def _manifest(archive: tarfile.TarFile, image: dict[str, Any], config: bytes, sizes: dict[str, int]) -> dict[str, Any]:
    layers = [{"mediaType": _LAYER, "digest": layer, "size": sizes[layer]} for layer in image["layers"]]
    described = {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}
    text = json.dumps(document, separators=(",", ":")).encode()
    name = image["name"]
    return {
        "mediaType": _MANIFEST,
        "digest": put(archive, text),
        "size": len(text),
        "annotations": {"io.containerd.image.name": full_name(name), "org.opencontainers.image.ref.name": name},
    }


def full_name(name: str) -> str:
    """Return an image's name with its registry, as containerd wants it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return "docker.io/%s" % (name if slash else "library/" + name)


@contextmanager
def _layer(store: Path, piece: dict[str, Any]) -> Iterator[IO[bytes]]:
    """Open a layer; what is damaged is removed, so that it is sent anew."""
    file = store / piece["path"]
    files = [file]
    try:
        with tempfile.TemporaryDirectory(prefix=".basis-", dir=str(store)) as scratch:
            basis = None
            if piece["basis"] is not None:
                layer, path, form = piece["basis"]
                files.append(store / path)
                basis = Path(scratch, "basis")
                _unpack(store / path, form, layer, basis)
            with unpacked(file, piece["form"], basis) as stream:
                yield stream
    except (DamagedError, RefusedError, EOFError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        for damaged in files:
            if damaged.exists():
                damaged.unlink()
        raise DamagedError(str(error)) from error


def _unpack(file: Path, form: str, layer: str, target: Path) -> None:
    digest = hashlib.sha256()
    with unpacked(file, form) as source, target.open("wb") as sink:
        for data in iter(lambda: source.read(CHUNK), b""):
            digest.update(data)
            sink.write(data)
    if "sha256:" + digest.hexdigest() != layer:
        raise DamagedError("%s is not the layer %s" % (file, layer))
