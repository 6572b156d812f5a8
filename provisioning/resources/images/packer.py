"""Pack a stream into a file, and tell the packed bytes while they are made."""

from __future__ import annotations

import gzip
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from provisioning.errors import ProvisionError
from provisioning.node.zstd import LONG

Form = Literal["zst", "gz"]
FORMS: tuple[Form, ...] = ("zst", "gz")

Tell = Callable[[bytes], None]

BLOCK = 1 << 17
LEVEL = "-6"
ADAPTING = "--adapt=min=3,max=8"
"""As long as the line takes what is packed, it is packed fast; where the line is slower, packed better."""


@contextmanager
def packer(file: Path, form: Form, tell: Tell | None = None) -> Iterator[IO[bytes]]:
    """Give a stream that packs what is written to it into a file.

    Parameters
    ----------
    file : Path
    form : {"zst", "gz"}
    tell : callable, optional
        Gets the packed bytes in order, from another thread; what it raises is raised at the end.

    Raises
    ------
    ProvisionError
        When it cannot be packed.
    """
    if form == "gz":
        with gzip.open(file, "wb", compresslevel=6) as packing:
            yield cast("IO[bytes]", packing)
        if tell is not None:
            with file.open("rb") as packed:
                while block := packed.read(BLOCK):
                    tell(block)
        return
    command = ["zstd", "-q", LEVEL if tell is None else ADAPTING, LONG, "-T0", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101 - as above
        taker = _Taker(process.stdout, file, tell)
        try:
            with process.stdin as packing:
                yield packing
        except BrokenPipeError:
            pass  # its exit status, or who takes what it packs, says why
        except BaseException:
            process.kill()
            taker.join()
            raise
        taker.join()
    if taker.error is not None:
        raise taker.error
    if process.returncode != 0:
        raise ProvisionError(
            f"zstd ended with status {process.returncode} while it packed a layer",
            remedy=f"see whether {file.parent.parent} has room",
        )


class _Taker(threading.Thread):
    """Writes what a program packs to a file, and tells it."""

    def __init__(self, source: IO[bytes], file: Path, tell: Tell | None) -> None:
        super().__init__(name="pack", daemon=True)
        self.error: Exception | None = None
        self._source, self._file, self._tell = source, file, tell
        self.start()

    def run(self) -> None:
        try:
            with self._file.open("wb") as target:
                while block := self._source.read1(BLOCK):  # type: ignore[attr-defined]  # a pipe's reader has it
                    target.write(block)
                    if self._tell is not None:
                        self._tell(block)
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that packs
            self.error = error
        finally:
            self._source.close()
