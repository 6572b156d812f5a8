"""Files known by their content on the driver: wheels, and what they say of themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError
from provisioning.kept import cache_folder
from provisioning.manifest import Entry
from provisioning.node import records, tree

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def wheel_store() -> Path:
    """Return the folder of wheels on the driver, laid out like the one on the nodes."""
    return cache_folder() / "wheels"


def keep(file: Path, store: Path) -> Entry:
    """Move a file into a store, below the first digits of its sha256, and return its entry."""
    with file.open("rb") as stream:
        digest, size = tree.digest_stream(stream)
    path = f"{digest[:16]}/{file.name}"
    final = store / path
    final.parent.mkdir(parents=True, exist_ok=True)
    fresh = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.move(file, fresh)  # a rename where both lie on one file system
    fresh.chmod(0o644)
    fresh.replace(final)
    return Entry(path, size, digest)


def has(store: Path, entry: Entry) -> bool:
    """Return whether a store still holds a file of this name and size (its bytes are proven where they arrive)."""
    try:
        return (store / entry.path).stat().st_size == entry.size
    except OSError:
        return False


def noted(note: Path, store: Path) -> Entry | None:
    """Return the entry that `note_down` left; None when there is none or the store does not hold it any more."""
    row = tree.read_json(str(note))
    entry = Entry(*row) if isinstance(row, list) and len(row) == 3 else None
    return entry if entry is not None and has(store, entry) else None


def note_down(note: Path, entry: Entry) -> None:
    """Remember what something was made into, so that it is not made twice."""
    note.parent.mkdir(parents=True, exist_ok=True)
    tree.write_json(str(note), [entry.path, entry.size, entry.sha256])


@dataclass(frozen=True)
class Wheel:
    """A wheel in the driver's store."""

    store: Path
    entry: Entry

    @property
    def file(self) -> Path:
        """Its place on the driver."""
        return self.store / self.entry.path

    @cached_property
    def identity(self) -> tuple[str, str]:
        """``name==version`` and the digest of what its RECORD promises."""
        return records.of_wheel(self.file)

    @property
    def name(self) -> str:
        """Canonical name of the project."""
        return self.identity[0].split("==")[0]

    @property
    def version(self) -> str:
        """Its version."""
        return self.identity[0].split("==")[1]

    @property
    def tags(self) -> str:
        """What it runs on: interpreter, ABI and platform, as its name says."""
        return "-".join(self.file.stem.split("-")[-3:])

    @cached_property
    def unpacked(self) -> int:
        """Bytes of its files once installed."""
        with zipfile.ZipFile(self.file) as archive:
            return sum(info.file_size for info in archive.infolist())

    @cached_property
    def tops(self) -> frozenset[str]:
        """What can be imported of it: names of modules and packages at its top."""
        with zipfile.ZipFile(self.file) as archive:
            first = {name.split("/")[0] for name in archive.namelist()}
        return frozenset(name.removesuffix(".py") for name in first if not name.endswith((".dist-info", ".data")))

    @cached_property
    def requires_python(self) -> str:
        """The interpreters it allows, as a version specifier; "" for all."""
        return self._metadata.get("Requires-Python", "") or ""

    @cached_property
    def requires(self) -> tuple[Requirement, ...]:
        """What it depends on."""
        from packaging.requirements import Requirement

        return tuple(Requirement(text) for text in self._metadata.get_all("Requires-Dist", ()))

    @cached_property
    def _metadata(self) -> Message:
        with zipfile.ZipFile(self.file) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))


def uv_binary() -> str:
    """Return the path of the driver's uv; ProvisionError when its package came without it."""
    import uv

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise ProvisionError(
            f"the package uv holds no program: {error}", remedy="install uv again on the driver"
        ) from error


def run(
    command: Sequence[str], what: str, remedy: str, *, cwd: Path | None = None, extra: dict[str, str] | None = None
) -> str:
    """Run a tool on the driver, with the user's own settings of indexes and proxies, and return what it prints.

    Raises
    ------
    ProvisionError
        When it fails: `what` did not work, the last lines it printed, and the remedy.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_DIR", "PYTHON"))}
    done = subprocess.run(
        list(command),
        cwd=cwd,
        env={**environment, "LC_ALL": "C.UTF-8", **(extra or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        umask=0o022,
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        text = "\n".join(line for line in words if not line.startswith("WARNING:"))[-2000:]
        raise ProvisionError(f"{what} failed on the driver: {text}", remedy=remedy)
    return done.stdout.decode("utf-8", "replace")


def pip() -> list[str]:
    """Return the command of the driver's own pip; ProvisionError when it has none."""
    from importlib.util import find_spec

    if find_spec("pip") is None:
        raise ProvisionError(
            f"the driver's environment has no pip, which fetches wheels for the nodes ({sys.prefix})",
            remedy=f"{uv_binary()} pip install --python {sys.executable} pip",
        )
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
