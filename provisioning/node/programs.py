"""Programs that a node keeps for the next command: as they travelled, and what its Python has made of them.

What travelled is known by a digest that the driver tells, so it counts whoever has written it. Byte code has none that
the driver could know: it counts only where nobody but this user can have written it. Travels with the bootstrap.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from _frozen_importlib_external import MAGIC_NUMBER  # importlib.util, which has it too, is much more

from provisioning.node.quick import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Dict, Optional, Tuple

    Codes = Dict[str, CodeType]

LARGEST = 1 << 20
"""Bytes of a file, at most."""

FILES = 128
CODE = "-" + sys.implementation.name + MAGIC_NUMBER.hex()
"""Ends the name of byte code, which no other Python can read."""


def unpacked(packed: bytes) -> Dict[str, str]:
    """Return the modules (name -> source) of a pack."""
    modules: Dict[str, str] = loads(zlib.decompress(packed))
    return modules


def origin(name: str) -> str:
    """Return the file that tracebacks name for a module."""
    return name.replace(".", "/") + ".py"


def compiled(modules: Dict[str, str]) -> Codes:
    """Compile modules; none of them where this Python cannot read one, which is left to who imports that."""
    try:
        return {name: compile(source, origin(name), "exec") for name, source in modules.items()}
    except SyntaxError:
        return {}


def sha256(data: bytes) -> str:
    """Return the sha256 (hex) of bytes."""
    try:
        from _sha256 import sha256  # type: ignore[import-not-found] # hashlib takes longer to load than this to run
    except ImportError:
        from hashlib import sha256  # of 3.12 and later
    digest: str = sha256(data).hexdigest()
    return digest


def kept(folder: str, digest: str) -> Optional[bytes]:
    """Return the pack of this digest, if it is there."""
    packed, _ = _read(folder + "/" + digest)
    return packed if sha256(packed) == digest else None


def kept_code(folder: str, digest: str) -> Any:  # noqa: ANN401 - what `keep_code` got
    """Return what was made of the pack of this digest; None where it is not there, damaged, or may be another's."""
    body, ours = _read(folder + "/" + digest + CODE)
    if not ours or sha256(digest.encode() + body[64:]).encode() != body[:64]:
        return None
    return marshal.loads(body[64:])  # noqa: S302 - nobody but this user has written it


def keep_code(folder: str, digest: str, made: Any) -> None:  # noqa: ANN401 - whatever marshal can write
    """Keep what was made of the pack of this digest."""
    body = marshal.dumps(made)
    keep(folder, digest + CODE, sha256(digest.encode() + body).encode() + body)


def keep(folder: str, name: str, data: bytes) -> None:
    """Keep a file where this user alone writes, and no more than some: those of older versions go."""
    from pathlib import Path

    place = Path(folder)
    try:
        for each in (place.parent, place):
            each.mkdir(0o700, exist_ok=True)
        found = place.lstat()
        if not _own(found) or found.st_mode & 0o170000 != 0o040000 or len(data) > LARGEST:
            return
        there = [each for each in place.iterdir() if "." not in each.name]
        for each in there if len(there) > FILES else ():
            each.unlink()
        scratch = place / ("%s.%d" % (name, os.getpid()))
        descriptor = os.open(str(scratch), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        scratch.rename(place / name)
    except OSError:
        return


def _read(name: str) -> Tuple[bytes, bool]:
    """Return what a file holds, and whether nobody but this user can have written it, or put it there."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b"", False
    try:
        seen = (os.fstat(descriptor), os.lstat(name.rpartition("/")[0]))
        return os.read(descriptor, LARGEST), all(_own(each) for each in seen)
    except OSError:
        return b"", False
    finally:
        os.close(descriptor)


def _own(status: os.stat_result) -> bool:
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
