"""Unpack layers and patches with what a node has: zstd where it is recent enough, Python's own gzip (>= 3.8)."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, List, Optional

from provisioning.node.tools import RefusedError
from provisioning.node.zstd import LONG

CHUNK = 1 << 20


@contextmanager
def unpacked(file: Path, form: str, basis: Optional[Path] = None) -> Iterator[IO[bytes]]:
    """Give the bytes of a packed file as a stream.

    Parameters
    ----------
    file : Path
    form : str
        ``"gz"``, ``"zst"`` or, with a basis, ``"patch"``.
    basis : Path, optional
        The unpacked layer that a patch was made against.

    Raises
    ------
    RefusedError
        When the whole was read and the file turns out to be damaged.
    """
    if form == "gz":
        with gzip.open(file) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile reads like any other stream
        return
    command: List[str] = ["zstd", "-q", "-d", "-c", LONG if basis is None else "--long=31", str(file)]
    if basis is not None:
        command.insert(1, "--patch-from=%s" % basis)
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words)
        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            with process.stdout as stream:
                yield stream
        finally:
            if process.poll() is None:
                process.terminate()
            status = process.wait()
        if status not in (0, -15):
            words.seek(0)
            text = words.read().decode("utf-8", "replace").strip()[-300:]
            raise RefusedError("%s cannot be unpacked: %s" % (file, text), "run it again: it is sent anew")
