"""Read every layer of images again: the engine writes them out, and what comes must have the digests it is known by.

No engine looks at the bytes of a layer after it was loaded; but when it writes an image out (``docker save``) it puts
the archive of each layer together from the files on its disk. A file that was changed there gives other bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Any, Iterator

from provisioning.node import docker

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_SMALL = 1 << 22


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Answer for {"images": [name]}: {"damaged": {name: why}, "bytes": read}."""
    damaged, size = {}, 0
    for name, seen in sorted(docker.inspect(args["images"]).items()):
        if seen is None:
            damaged[name] = "it is not there"
            continue
        found = _Reading(channel, "read the layers of %s" % name)
        why = found.read(seen["id"]) or found.lacking(seen["layers"])
        size += found.size
        if why:
            damaged[name] = why
    return {"damaged": damaged, "bytes": size}


class _Reading:
    """What one ``docker save`` gave: the digests of all that may be a layer, as it is stored and unpacked."""

    def __init__(self, channel: Channel, title: str) -> None:
        self.size = 0
        self._channel = channel
        self._title = title
        self._digests: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._documents: dict[str, Any] = {}

    def read(self, image: str) -> str:
        """Read an image by its id; return why that failed, or ""."""
        self._channel.event({"title": self._title, "done": 0, "total": 0})
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                ["docker", "save", image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
            broken = self._unpack(process)
            complaints.seek(0)
            said = " ".join(complaints.read().decode("utf-8", "replace").split())[-500:]
        return "the engine cannot write it out: %s" % (said or broken) if process.returncode or broken else ""

    def _unpack(self, process: subprocess.Popen[bytes]) -> str:
        with process:
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                    for entry in archive:
                        self._take(archive, entry)
            except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
                return str(error)
        return ""

    def _take(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = "/".join(part for part in entry.name.split("/") if part != ".")
        if entry.issym():
            self._links[name] = entry.linkname
        handle = archive.extractfile(entry) if entry.isreg() else None
        if handle is None:
            return
        if entry.size < _SMALL:
            body = handle.read()
            self.size += len(body)
            if name == "manifest.json":
                self._documents[name] = json.loads(body)
            plain = gzip.decompress(body) if body.startswith(_GZIP) else body
            self._digests[name] = hashlib.sha256(plain).hexdigest()
        else:
            self._digests[name] = self._digest(handle)

    def _digest(self, handle: IO[bytes]) -> str:
        """Digest a large member as it is unpacked."""
        sha256 = hashlib.sha256()
        for block in self._plain(handle):
            sha256.update(block)
        return sha256.hexdigest()

    def _plain(self, handle: IO[bytes]) -> Iterator[bytes]:
        block = handle.read(_CHUNK)
        unpack = zlib.decompressobj(31) if block.startswith(_GZIP) else None
        while block:
            self.size += len(block)
            self._channel.event({"title": self._title, "done": self.size, "total": 0})
            yield block if unpack is None else unpack.decompress(block)
            block = handle.read(_CHUNK)
        if unpack is not None:
            yield unpack.flush()

    def lacking(self, layers: list[str]) -> str:
        """Return which layers of an image did not come with their bytes, or ""."""
        manifest = self._documents.get("manifest.json")
        if not manifest:
            return "the engine wrote no manifest of it"
        wrong = []
        names = manifest[0]["Layers"]
        for number, wanted in enumerate(layers[: len(names)]):
            if "sha256:" + self._of(names[number]) != wanted:
                wrong.append("layer %d of %d holds other bytes than %s" % (number + 1, len(layers), wanted[:19]))
        if len(names) != len(layers):
            wrong.append("%d layers are there, %d were to be" % (len(names), len(layers)))
        return "; ".join(wrong)

    def _of(self, name: str) -> str:
        """Return the digest of a member, through links between members (a layer may stand for several)."""
        for _ in range(len(self._links) + 1):
            if name not in self._links:
                break
            parts = name.split("/")[:-1]
            for part in self._links[name].split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            name = "/".join(parts)
        return self._digests.get(name, "")
