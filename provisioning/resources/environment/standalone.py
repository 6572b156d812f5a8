"""An interpreter that travels (``python_from``): a relocatable Python of the driver, for nodes without its version."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import UsageError
from provisioning.kept import cache_folder
from provisioning.resources.environment.wheels import keep, note_down, noted

if TYPE_CHECKING:
    from provisioning.manifest import Entry

_ASK = (
    "import json, platform, sys; print(json.dumps([platform.python_version(), platform.machine(), "
    "platform.libc_ver()[0] or 'musl', sys.prefix, sys.base_prefix]))"
)
_OPTIMISED = (".opt-1.pyc", ".opt-2.pyc")
_REMEDY = "unpack a standalone build there (python-build-standalone; `uv python install` makes such folders)"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that nodes get.

    Attributes
    ----------
    folder : Path
        Where it lies on the driver.
    version, machine, libc : str
        What it is and what it runs on.
    archive : Entry
        Itself in the driver's store, as one file.
    """

    folder: Path
    version: str
    machine: str
    libc: str
    archive: Entry


def read(folder: Path, minor: str, store: Path) -> Interpreter:
    """Return the interpreter in a folder, packed once as long as nothing in it changes.

    Raises
    ------
    UsageError
        When there is none of that minor version, it does not run, or it finds its library only at another place.
    """
    program = folder / "bin" / f"python{minor}"
    if not program.is_file():
        raise UsageError(f"python_from: there is no {program}", remedy=_REMEDY)
    try:
        done = subprocess.run([str(program), "-I", "-B", "-c", _ASK], capture_output=True, text=True, check=False)
        version, machine, libc, prefix, base = json.loads(done.stdout)
    except (OSError, ValueError) as error:
        raise UsageError(f"python_from: {program} does not run on this machine", remedy=_REMEDY) from error
    if base != prefix:
        raise UsageError(f"python_from: {folder} is an environment of {base}", remedy=f"name {base}, or: {_REMEDY}")
    if Path(prefix).resolve() != folder.resolve():
        raise UsageError(f"python_from: {program} looks for its library in {prefix}", remedy=_REMEDY)
    return Interpreter(folder, version, machine, libc, _packed(folder.resolve(), minor, version, store))


def _packed(folder: Path, minor: str, version: str, store: Path) -> Entry:
    files = sorted(_files(folder, minor))
    stats = [[str(path), *_stat(folder / path)] for path in files]
    mark = hashlib.sha256(json.dumps([str(folder), stats]).encode()).hexdigest()[:32]
    note = cache_folder() / "pythons" / f"{mark}.json"
    known = noted(note, store)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="timeeval-python-") as scratch:
        archive = Path(scratch, f"cpython-{version}.tar.gz")
        with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
            for path in files:
                real = (folder / path).resolve()
                # a link that leads out of the folder is nothing on a node; what it leads to is
                source = folder / path if folder in real.parents else real
                info = packed.gettarinfo(str(source), path.as_posix())
                if info.islnk():  # one file under two names
                    info.type, info.linkname, info.size = tarfile.REGTYPE, "", source.stat().st_size
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                if info.isreg():
                    with source.open("rb") as stream:
                        packed.addfile(info, stream)
                else:
                    packed.addfile(info)
        entry = keep(archive, store)
    note_down(note, entry)
    return entry


def _stat(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_size, status.st_mtime_ns, status.st_mode


def _files(folder: Path, minor: str) -> Iterator[Path]:
    """Give what the base of environments needs: not an interpreter's own packages, tests and static libraries."""
    name = f"python{minor}"
    yield from (Path("bin", path.name) for path in (folder / "bin").glob("python3*") if _belongs(path, name))
    yield from (Path("lib", path.name) for path in (folder / "lib").glob("libpython3*.so*"))
    if (folder / "share" / "terminfo").is_dir():
        yield from (path.relative_to(folder) for path in (folder / "share" / "terminfo").rglob("*") if path.is_file())
    library = folder / "lib" / name
    for here, folders, names in os.walk(library):
        folders[:] = [each for each in folders if each not in {"site-packages", "dist-packages", "test", "tests"}]
        yield from (Path(here, each).relative_to(folder) for each in names if not each.endswith((".a", *_OPTIMISED)))


def _belongs(program: Path, name: str) -> bool:
    return bool(re.fullmatch(r"python3(\.\d+)?", program.name)) and program.resolve().name == name
