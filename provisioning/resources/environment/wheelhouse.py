"""All files that an environment is made of on one target, in the driver's store, and what must come out of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import ProvisionError, UsageError
from provisioning.kept import cache_folder
from provisioning.manifest import Entry, Manifest
from provisioning.node import records, tree
from provisioning.resources.environment.lock import Pin, digest_of, gaps, render
from provisioning.resources.environment.loose import PREFIX, refuse_clashes
from provisioning.resources.environment.packs import Packs, packs_of
from provisioning.resources.environment.target import Target, of_driver
from provisioning.resources.environment.wheels import Wheel, has, keep, pip, run, wheel_store

if TYPE_CHECKING:
    from provisioning.resources.environment.standalone import Interpreter


@dataclass(frozen=True)
class Wheelhouse:
    """An environment before it is installed.

    Attributes
    ----------
    target : Target
        The nodes it is for.
    lock : str
        Text of the lock, the projects included.
    codec : int
        How its packs are compressed.
    packs : tuple of Packs
        What each wheel becomes.
    base : Entry or None
        An interpreter that travels.
    installed : mapping
        ``name==version`` -> digest of its RECORD: what a node must show afterwards.
    unpacked : int
        Bytes on a node's disk once installed, without byte code.
    """

    target: Target
    lock: str
    codec: int
    packs: tuple[Packs, ...]
    base: Entry | None
    installed: Mapping[str, str]
    unpacked: int

    @property
    def slug(self) -> str:
        """A name for what travels."""
        return f"{self.target.slug}-{self.codec}"

    @cached_property
    def manifest(self) -> Manifest:
        """All files that travel, as they lie in the store."""
        files = [entry for packs in self.packs for entry in packs.entries]
        return Manifest.of([*files, *([] if self.base is None else [self.base])])

    @property
    def lock_digest(self) -> str:
        """Sha256 (hex) of the lock."""
        return digest_of(self.lock)

    @property
    def identity(self) -> str:
        """Sha256 (hex) over what must be installed."""
        return records.identity_of(dict(self.installed))


def assemble(
    target: Target, codec: int, pins: Sequence[Pin], projects: Sequence[Wheel], interpreter: Interpreter | None = None
) -> Wheelhouse:
    """Return the wheelhouse of a target; what the driver's store lacks is fetched.

    Raises
    ------
    ProvisionError
        When a package has no wheel for the target, or the lock leaves out what a wheel requires.
    """
    for wheel in projects:
        if not wheel.tags.endswith("-none-any") and of_driver().slug != target.slug:
            raise ProvisionError(
                f"the wheel of the project {wheel.name} only runs where it was built ({wheel.tags}), not with {target}",
                remedy="build its wheels per platform and name them in a lock instead",
            )
    store = wheel_store()
    house = _known(_note(target, digest_of(render(pins))), store) or _fetch(target, pins, store)
    installed = {**house["installed"], **dict(wheel.identity for wheel in projects)}
    versions = dict(key.split("==", 1) for key in installed)
    missing = [*house["gaps"], *gaps(target, projects, versions)]
    if missing:
        raise UsageError(
            f"the lock for {target} is not complete: {'; '.join(missing[:5])}",
            remedy="lock again with the projects' requirements among the inputs",
        )
    wheels = [*(Wheel(store, entry) for entry in _entries(house)), *projects]
    refuse_clashes((wheel for wheel in projects if wheel.name.startswith(PREFIX)), wheels)
    packs = packs_of(wheels, target.python, codec, store)
    base = None if interpreter is None else interpreter.archive
    locked = [*pins, *(Pin(wheel.name, wheel.version, (f"sha256:{wheel.entry.sha256}",)) for wheel in projects)]
    return Wheelhouse(
        target=target,
        lock=render(locked),
        codec=codec,
        packs=tuple(packs),
        base=base,
        installed=installed,
        unpacked=house["unpacked"] + sum(wheel.unpacked for wheel in projects),
    )


def _note(target: Target, digest: str) -> Path:
    return cache_folder() / "wheelhouses" / f"house-{target.slug}-{digest[:32]}.json"


def _known(note: Path, store: Path) -> dict[str, Any] | None:
    """Return what an earlier command noted, if the store still holds all of it."""
    found = tree.read_json(str(note))
    if not isinstance(found, dict) or not all(has(store, entry) for entry in _entries(found)):
        return None
    return found


def _entries(house: Mapping[str, Any]) -> list[Entry]:
    return [Entry(*row) for row in house["files"]]


def _remember(note: Path, house: dict[str, Any]) -> dict[str, Any]:
    note.parent.mkdir(parents=True, exist_ok=True)
    tree.write_json(str(note), house)
    return house


def _fetch(target: Target, pins: Sequence[Pin], store: Path) -> dict[str, Any]:
    """Fetch the wheels of a lock for a target by pip, which proves their digests, and note what they hold."""
    wheels: list[Wheel] = []
    with tempfile.TemporaryDirectory(prefix="timeeval-wheels-") as scratch:
        lock, out = Path(scratch, "lock.txt"), Path(scratch, "out")
        lock.write_text(render(pins), encoding="utf-8")
        out.mkdir()
        if pins:
            _download(lock, target, out)
        wheels += (Wheel(store, keep(file, store)) for file in sorted(out.iterdir()))
    wanted, found = {pin.name for pin in pins}, {wheel.name for wheel in wheels}
    if wanted != found:
        raise ProvisionError(
            f"pip fetched other packages than the lock names: {', '.join(sorted(wanted ^ found))}",
            remedy="look at the lock; every package needs a wheel of its own name",
        )
    installed = dict(wheel.identity for wheel in wheels)
    return _remember(
        _note(target, digest_of(render(pins))),
        {
            "files": [[wheel.entry.path, wheel.entry.size, wheel.entry.sha256] for wheel in wheels],
            "installed": installed,
            "gaps": gaps(target, wheels, dict(key.split("==", 1) for key in installed)),
            "unpacked": sum(wheel.unpacked for wheel in wheels),
        },
    )


def _download(lock: Path, target: Target, out: Path) -> None:
    command = [*pip(), "download", "-q", "--no-deps", "--only-binary", ":all:", "--dest", str(out)]
    run(
        [*command, *target.pip_options(), "--require-hashes", "-r", str(lock)],
        f"fetching wheels for {target}",
        "choose versions that have wheels for this platform, or let pip find your own by PIP_FIND_LINKS",
    )
