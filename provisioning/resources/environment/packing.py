"""Make packs of wheels: ``python -m provisioning.resources.environment.packing`` makes what its standard input lists.

A process of its own, as many as there are cores: to compress and to compile takes a driver's time once per wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from provisioning.errors import ProvisionError
from provisioning.node import codec
from provisioning.node.packs import BLOCK, FORMAT, LENGTH, TIME
from provisioning.resources.environment.unfolding import Placed, Unfolded

LEVEL = 6
"""Of both codecs: from here on packs become hardly smaller, only slower to make."""

_CHUNK = 1 << 20


class Order(NamedTuple):
    """A wheel to be packed.

    Attributes
    ----------
    wheel, sha256 : str
        The file, and its digest (hex), which is compared.
    minor : str
        Minor version of the interpreter.
    codec : int
        How blocks are compressed.
    files, code : str or None
        Where the packs of its files and of its byte code go.
    """

    wheel: str
    sha256: str
    minor: str
    codec: int
    files: str | None
    code: str | None


class Writer:
    """Writes one pack.

    Parameters
    ----------
    file : Path
    kind : int
        The codec.
    """

    def __init__(self, file: Path, kind: int) -> None:
        self._stream: IO[bytes] = file.open("wb")
        self._stream.write(FORMAT)
        self._kind = kind
        self._waiting = bytearray()
        self._files: list[tuple[str, int, bool]] = []
        self._blocks: list[tuple[int, int, int]] = []

    def add(self, path: str, chunks: Iterable[bytes], *, program: bool = False) -> None:
        """Add a file."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self._waiting += chunk
            while len(self._waiting) >= BLOCK:
                self._flush()
        self._files.append((path, size, program))

    def finish(self, magic: str) -> None:
        """Write the index; `magic` tells which interpreters read the byte code in the pack, "" that there is none."""
        while self._waiting:
            self._flush()
        document = {"files": self._files, "blocks": self._blocks, "magic": magic}
        index = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), LEVEL)
        self._stream.write(index + LENGTH.pack(len(index)))

    def _flush(self) -> None:
        block = bytes(self._waiting[:BLOCK])
        del self._waiting[:BLOCK]
        kind, packed = codec.pack(self._kind, block, LEVEL)
        self._blocks.append((kind, len(packed), len(block)))
        self._stream.write(packed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def pack(order: Order) -> None:
    """Make the packs of one wheel.

    Raises
    ------
    ProvisionError
        When the wheel is not the one that was fetched, or not one that can be installed.
    """
    wheel = Path(order.wheel)
    with wheel.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != order.sha256:
            raise ProvisionError(
                f"{wheel} is not what was fetched", remedy=f"remove it and run the command again: rm {wheel}"
            )
    with zipfile.ZipFile(wheel) as archive:
        unfolded = Unfolded(archive, order.minor)
        if order.files is not None:
            with Writer(Path(order.files), order.codec) as writer:
                # equal kinds of files beside each other become smaller
                for placed in sorted(
                    unfolded.files.values(), key=lambda each: (each.path.rpartition(".")[2], each.path)
                ):
                    writer.add(placed.path, _content(archive, placed), program=placed.program)
                writer.finish("")
        if order.code is not None:
            with Writer(Path(order.code), order.codec) as writer:
                for path, code in _compiled(archive, unfolded):
                    writer.add(path, [code])
                writer.finish(importlib.util.MAGIC_NUMBER.hex())


def _content(archive: zipfile.ZipFile, placed: Placed) -> Iterator[bytes]:
    if isinstance(placed.source, bytes):
        yield placed.source
        return
    with archive.open(placed.source) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _compiled(archive: zipfile.ZipFile, unfolded: Unfolded) -> Iterator[tuple[str, bytes]]:
    """Yield the byte code of all modules; what does not compile (templates, old syntax) is left out."""
    tag = sys.implementation.cache_tag
    for placed in unfolded.sources():
        text = b"".join(_content(archive, placed))
        folder, _, name = placed.path.rpartition("/")
        inside = placed.path.split("/site-packages/", 1)[1]
        try:
            code = compile(text, inside, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            continue
        head = importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in (0, TIME, len(text)))
        yield f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc", head + marshal.dumps(code)


def main(orders: Sequence[Sequence[object]]) -> int:
    """Pack what [[...] of `Order`] lists; what cannot be packed is told as JSON on standard output."""
    warnings.simplefilter("ignore")
    for row in orders:
        try:
            pack(Order(*row))  # type: ignore[arg-type]  # rows are what `packs` made of orders
        except ProvisionError as error:
            sys.stdout.write(json.dumps({"message": error.message, "remedy": error.remedy}))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
