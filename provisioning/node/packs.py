"""Packs: what a wheel leaves in an environment, ready to be written; made on the driver, unpacked on every node.

A pack is a few bytes that say so, blocks of at most `BLOCK` bytes (each compressed on its own), an index, and its
length. The index names the files in their order, by paths below the environment's prefix, and the blocks. Nothing of
it depends on the place of the environment, so equal wheels make equal packs.

Python takes byte code for current when it names the size and the time of change of its source. Files of a pack
therefore have one fixed time everywhere; who edits a source later changes its time, and Python compiles it anew.

Runs on the node (standard library, Python >= 3.8) and on the driver.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Sequence

from provisioning.node import codec
from provisioning.node.tools import BEAT
from provisioning.node.tree import safe_path

if TYPE_CHECKING:
    from provisioning.node.tools import Beat

FORMAT = b"timeeval.pack/1\n"
BLOCK = 4 << 20
# 1980-01-01, the first moment an entry of a zip archive can have
TIME = 315532800
LENGTH = struct.Struct(">I")

_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_MOST_THREADS = 4
_MOST_INDEX = 1 << 28

Index = Dict[str, Any]
Row = Sequence[Any]


class DamagedError(ValueError):
    """A pack is not what was sent."""


def read_index(pack: Path) -> Index:
    """Return ``files`` ([path, size, whether it is a program]), ``blocks`` ([codec, bytes, bytes unpacked]), ``magic``.

    The last is the number (hex) of the byte code in it, "" where there is none.

    Raises
    ------
    DamagedError
        When it is no pack.
    """
    with pack.open("rb") as stream:
        if stream.read(len(FORMAT)) != FORMAT:
            raise DamagedError("%s is no pack" % pack)
        end = stream.seek(-LENGTH.size, os.SEEK_END)
        (length,) = LENGTH.unpack(stream.read(LENGTH.size))
        stream.seek(max(end - length, 0))
        try:
            index = json.loads(zlib.decompressobj().decompress(stream.read(length), _MOST_INDEX).decode("utf-8"))
            files = [[safe_path(path), int(size), bool(program)] for path, size, program in index["files"]]
            blocks = [[int(kind), int(packed), int(size)] for kind, packed, size in index["blocks"]]
            return {"files": files, "blocks": blocks, "magic": str(index["magic"])}
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise DamagedError("%s has no index: %s" % (pack, error)) from error


def magic_of(pack: Path) -> str:
    """Return the number (hex) of the byte code in a pack: interpreters of one minor version share it."""
    return str(read_index(pack)["magic"])


def unpack(store: Path, wheels: Sequence[Sequence[Row]], prefix: Path, beat: Beat | None = None) -> None:
    """Write what packs hold below a prefix.

    Where two wheels have a file of the same path, the later one's is written, on every node the same. Byte code is
    written only with the source that it was compiled from.

    Parameters
    ----------
    store : Path
        Where the packs lie.
    wheels : sequence
        The packs of each wheel as [path in the store, bytes, sha256].
    prefix : Path
        The environment's folder; it holds none of the files yet.
    beat : callable, optional
        Called every ten seconds, so that nobody takes the silence for death.

    Raises
    ------
    DamagedError, FileNotFoundError
        When a pack is not what was sent.
    """
    indexes = [[read_index(store / row[0]) for row in rows] for rows in wheels]
    owners = {path: number for number, each in enumerate(indexes) for index in each for path, _, _ in index["files"]}
    for folder in sorted({path.rpartition("/")[0] for path in owners}):
        (prefix / folder).mkdir(mode=0o755, parents=True, exist_ok=True)
    jobs = []
    for number, (rows, each) in enumerate(zip(wheels, indexes, strict=False)):

        def own(path: str, number: int = number) -> bool:
            return owners[path] == owners.get(source_of(path)) == number

        jobs += [(int(row[1]), row, index, own) for row, index in zip(rows, each, strict=False)]
    jobs.sort(key=lambda job: job[0], reverse=True)  # the largest first, so that all threads end together
    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        pending = {pool.submit(_write, store / row[0], str(row[2]), index, prefix, own) for _, row, index, own in jobs}
        while pending:
            done, pending = wait(pending, BEAT, FIRST_EXCEPTION)
            failed = next((future for future in done if future.exception() is not None), None)
            if failed is not None:
                for future in pending:
                    future.cancel()
                failed.result()
            if pending and beat is not None:
                beat()


def source_of(path: str) -> str:
    """Return the path of the source that byte code belongs to; that of any other file is its own."""
    above, cache, name = path.rpartition("/__pycache__/")
    return "%s/%s.py" % (above, name.rsplit(".", 2)[0]) if cache else path


def _write(pack: Path, sha256: str, index: Index, prefix: Path, own: Callable[[str], bool]) -> None:
    """Write the files of one pack, and then know whether it was what its digest says."""
    root = str(prefix) + "/"
    with pack.open("rb") as stream:
        content = _Content(stream, index["blocks"])
        for path, size, program in index["files"]:
            pieces = content.take(size)
            if not own(path):
                for _ in pieces:
                    pass
                continue
            handle = os.open(root + path, _FRESH, 0o755 if program else 0o644)
            try:
                for piece in pieces:
                    _all(handle, piece)
                os.utime(handle, (TIME, TIME))
            finally:
                os.close(handle)
        if content.end() != sha256:
            raise DamagedError("%s is not what was sent" % pack)


def _all(handle: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(handle, piece) :]


class _Content:
    """What the blocks of a pack hold, one after another."""

    def __init__(self, stream: IO[bytes], rows: List[List[int]]) -> None:
        self.stream = stream
        self.rows = iter(rows)
        self.digest = hashlib.sha256(stream.read(len(FORMAT)))
        self.block = memoryview(b"")

    def take(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes in pieces."""
        while size:
            if not self.block:
                self.block = memoryview(self._next())
            piece = self.block[:size]
            self.block = self.block[len(piece) :]
            size -= len(piece)
            yield piece

    def end(self) -> str:
        """Return the sha256 (hex) of the whole pack."""
        self.digest.update(self.stream.read())
        return self.digest.hexdigest()

    def _next(self) -> bytes:
        row = next(self.rows, None)
        if row is None:
            raise DamagedError("%s ends early" % self.stream.name)
        kind, packed, size = row
        data = self.stream.read(packed)
        self.digest.update(data)
        try:
            return codec.unpack(kind, data, size)
        except ValueError as error:
            raise DamagedError("%s: %s" % (self.stream.name, error)) from error
