"""The archive that ``docker load`` reads, written while it reads (>= 3.8)."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from typing import IO, Any, Callable, Iterator, cast

from provisioning.node.pack import CHUNK
from provisioning.node.tools import BEAT, RefusedError, environment, remedy_for


class DamagedError(Exception):
    """A file of the store does not give the layer that it should; it is removed."""


class Counted:
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


def blob(digest: str) -> str:
    """Return where an archive has what has this digest."""
    return "blobs/sha256/" + digest.partition(":")[2]


def digest_of(data: bytes) -> str:
    """Return ``sha256:...`` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put(archive: tarfile.TarFile, data: bytes, name: str = "") -> str:
    """Add bytes, by default under their digest, which is returned."""
    digest = digest_of(data)
    add(archive, name or blob(digest), len(data), io.BytesIO(data))
    return digest


def add(archive: tarfile.TarFile, name: str, size: int, source: Counted | IO[bytes]) -> None:
    """Add what a stream gives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, cast("IO[bytes]", source))


@contextmanager
def engine(tell: Callable[[int], None]) -> Iterator[IO[bytes]]:
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
