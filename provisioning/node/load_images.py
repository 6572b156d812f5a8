"""Put images together from the layers in a store and give them to the engine (>= 3.8).

A classic store takes an archive that leaves out the layers it has. Nothing is written in between: what is unpacked goes
straight into ``docker load``, its digest is told on the way, and the archive ends early when a layer turns out wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Callable, Iterator, cast

from provisioning.node.pack import CHUNK, unpacked
from provisioning.node.tools import BEAT, RefusedError, environment, remedy_for

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class DamagedError(Exception):
    """A file of the store does not give the layer that it should; it is removed."""


def load(store: Path, document: dict[str, Any], tell: Callable[[int], None]) -> None:
    """Load images.

    Parameters
    ----------
    store : Path
        Folder of the packed layers.
    document : dict
        ``images``: [{"name", "config" (text), "layers" (all of them)}]; ``pieces``: [{"layer", "size", "form", "path",
        "basis"}] of the layers that go into the archive; ``whole``: whether these are all of them.
    tell : callable
        Gets the bytes given to the engine so far, and the same again while the engine works.

    Raises
    ------
    DamagedError
        When the store is damaged; nothing was loaded then.
    RefusedError
        When the engine refuses.
    """
    with _engine(tell) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        sizes = {piece["layer"]: piece["size"] for piece in document["pieces"]}
        done = 0
        for piece in document["pieces"]:
            with _layer(store, piece) as source:
                _add(archive, _blob(piece["layer"]), piece["size"], _Counted(source, piece, done, tell))
            done += piece["size"]
        rows, manifests = [], []
        for image in document["images"]:
            config = image["config"].encode("utf-8")
            digest = _put(archive, config)
            layers = [_blob(layer) for layer in image["layers"]]
            rows.append({"Config": _blob(digest), "RepoTags": [image["name"]], "Layers": layers})
            if document["whole"]:  # an OCI manifest says the sizes of all layers
                manifests.append(_manifest(archive, image, config, sizes))
        if document["whole"]:
            _put(archive, b'{"imageLayoutVersion":"1.0.0"}', "oci-layout")
            index = {"schemaVersion": 2, "manifests": manifests}
            _put(archive, json.dumps(index).encode(), "index.json")
        _put(archive, json.dumps(rows).encode(), "manifest.json")


def _manifest(archive: tarfile.TarFile, image: dict[str, Any], config: bytes, sizes: dict[str, int]) -> dict[str, Any]:
    layers = [{"mediaType": _LAYER, "digest": layer, "size": sizes[layer]} for layer in image["layers"]]
    described = {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}
    text = json.dumps(document, separators=(",", ":")).encode()
    name = image["name"]
    return {
        "mediaType": _MANIFEST,
        "digest": _put(archive, text),
        "size": len(text),
        "annotations": {"io.containerd.image.name": full_name(name), "org.opencontainers.image.ref.name": name},
    }


def full_name(name: str) -> str:
    """Return an image's name with its registry, as containerd wants it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return "docker.io/%s" % (name if slash else "library/" + name)


class _Counted:
    """The bytes of a layer on their way into the archive, compared with its digest at their end."""

    def __init__(self, source: IO[bytes], piece: dict[str, Any], before: int, tell: Callable[[int], None]) -> None:
        self._source = source
        self._piece = piece
        self._done = before
        self._left = piece["size"]
        self._tell = tell
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return what `tarfile` asks for."""
        data = self._source.read(min(size, self._left, CHUNK))
        while data and len(data) < min(size, self._left):
            more = self._source.read(min(size, self._left) - len(data))
            if not more:
                break
            data += more
        self._digest.update(data)
        self._left -= len(data)
        self._done += len(data)
        ended = self._left == 0 and not self._source.read(1)
        if (not data and self._left) or (self._left == 0 and not (ended and self._is_right())):
            raise DamagedError("%s is not the layer %s" % (self._piece["path"], self._piece["layer"]))
        self._tell(self._done)
        return data

    def _is_right(self) -> bool:
        return bool("sha256:" + self._digest.hexdigest() == self._piece["layer"])


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


def _blob(digest: str) -> str:
    return "blobs/sha256/" + digest.partition(":")[2]


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _put(archive: tarfile.TarFile, data: bytes, name: str = "") -> str:
    digest = _digest(data)
    _add(archive, name or _blob(digest), len(data), io.BytesIO(data))
    return digest


def _add(archive: tarfile.TarFile, name: str, size: int, source: _Counted | IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, cast("IO[bytes]", source))


@contextmanager
def _engine(tell: Callable[[int], None]) -> Iterator[IO[bytes]]:
    """Give the stream that ``docker load`` reads; it is ended when the archive cannot be finished."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            ["docker", "load", "--quiet"], env=environment(), stdin=subprocess.PIPE, stdout=words, stderr=words
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        try:
            try:
                with process.stdin as stream:
                    yield stream
            except BrokenPipeError:
                pass  # it refused before the end, and says why
            while process.poll() is None:
                try:
                    process.wait(BEAT)
                except subprocess.TimeoutExpired:
                    tell(-1)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            words.seek(0)
            text = words.read().decode("utf-8", "replace").strip()[-1000:]
            raise RefusedError("docker load ended with status %d: %s" % (process.returncode, text), remedy_for(text))
