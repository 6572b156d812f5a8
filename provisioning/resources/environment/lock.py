"""The lock of an environment for one target: every package with its version and the digests it may have."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import UsageError
from provisioning.node.records import canonical
from provisioning.resources.environment.wheels import Wheel, run, uv_binary

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from provisioning.resources.environment.sources import Sources
    from provisioning.resources.environment.target import Target

_INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)[ =]*(?![a-z]+://)(\S+)")


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One package of a lock.

    Attributes
    ----------
    name, version : str
        Canonical name, version.
    hashes : tuple of str
        ``sha256:<hex>`` of every file it may come as.
    """

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n".join([f"{self.name}=={self.version}", *(f"    --hash={digest}" for digest in self.hashes)])


def render(pins: Iterable[Pin]) -> str:
    """Return pins as a requirements file with hashes; the same pins give the same text."""
    return "".join(f"{pin}\n" for pin in sorted(pins))


def digest_of(text: str) -> str:
    """Return the sha256 (hex) of a lock's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def pins_for(target: Target, sources: Sources, kept: Path) -> tuple[Pin, ...]:
    """Return what has to be installed for a target beside the projects themselves.

    Files that are locks already are taken as they are, with no index asked. Anything else is resolved by uv together
    with what the projects require, once: the lock is kept and used again until a file or a requirement changes.

    Parameters
    ----------
    target : Target
        The nodes.
    sources : Sources
        What is wanted.
    kept : Path
        Folder for locks made here.

    Raises
    ------
    UsageError
        When a file is missing, two files pin one package to two versions, or nothing satisfies them all.
    """
    texts = {file: _read(file) for file in sources.requirements}
    read = [parse(text, target) for text in texts.values()]
    if texts and not sources.wishes and all(pins is not None for pins in read):
        return _merged(sources.requirements, [pins or () for pins in read])
    needed = () if sources.exact else [str(need) for wheel in sources.projects for need in wheel.requires]
    wishes = [*sources.wishes, *needed]
    if not texts and not wishes:
        return ()
    included = [text for file, text in texts.items() for text in _included(file, text)]
    question = "\n".join([str(target), *(["exact"] if sources.exact else []), *texts.values(), *included, *wishes])
    lock = kept / f"{target.slug}-{digest_of(question)[:16]}.lock"
    if not lock.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        fresh = lock.with_suffix(f".{os.getpid()}")
        fresh.write_text(_resolve(target, sources, wishes), encoding="utf-8")
        fresh.replace(lock)
    pins = parse(_read(lock), target)
    if pins is None:
        stray = next(line for line in _lines(_read(lock)) if parse(line, target) is None)
        raise UsageError(
            f"{stray.split(' --')[0]} (from {sources.title}) is no package of an index that can be pinned",
            remedy=f"name local projects under [environment] projects; if {lock} was edited, delete it",
        )
    named = {canonical(wish.split("==")[0]) for wish in sources.wishes}
    return tuple(pin for pin in pins if not sources.exact or pin.name in named)


def wishes(file: Path) -> list[str]:
    """Return the requirements of a file, of what it includes as well, without hashes and options.

    Raises
    ------
    UsageError
        When a file cannot be read, or a line is no requirement.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    text = _read(file)
    found = []
    for line in (line for each in (text, *_included(file, text)) for line in _lines(each)):
        wish = line.split(" --")[0].strip()
        if wish.startswith("-"):
            continue
        try:
            found.append(str(Requirement(wish)))
        except InvalidRequirement as error:
            raise UsageError(f"{file} holds {wish!r}, which is no requirement: {error}") from error
    return found


def parse(text: str, target: Target) -> tuple[Pin, ...] | None:
    """Return the pins of a hashed lock that apply to a target; None when a line is no pin with hashes."""
    from packaging.requirements import InvalidRequirement, Requirement

    pins = []
    for line in _lines(text):
        wish, *options = line.split(" --")
        try:
            requirement = Requirement(wish.strip())
        except InvalidRequirement:
            return None
        hashes = tuple(sorted(option.removeprefix("hash=").strip() for option in options if option.startswith("hash=")))
        version = _pinned(requirement)
        if not hashes or len(hashes) != len(options) or version is None:
            return None
        if requirement.marker is None or requirement.marker.evaluate(target.markers()):
            pins.append(Pin(canonical(requirement.name), version, hashes))
    return tuple(sorted(pins))


def _lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    bare = (line.split(" #")[0].strip() for line in joined.splitlines() if not line.lstrip().startswith("#"))
    return [" ".join(line.split()) for line in bare if line]


def _pinned(requirement: Requirement) -> str | None:
    specifiers = list(requirement.specifier)
    if requirement.url or len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        return None
    return specifiers[0].version


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the requirements {file} cannot be read: {error}", remedy="mend [environment] requirements"
        ) from error


def _included(file: Path, text: str) -> list[str]:
    """Return the texts of files that a requirements file includes: what they say decides too."""
    texts = []
    for line in _lines(text):
        match = _INCLUDE.match(line)
        if match is not None:
            other = file.parent / match[1]
            texts.append(_read(other))
            texts += _included(other, texts[-1])
    return texts


def _merged(files: Sequence[Path], read: Sequence[tuple[Pin, ...]]) -> tuple[Pin, ...]:
    merged: dict[str, Pin] = {}
    for file, pins in zip(files, read, strict=True):
        for pin in pins:
            other = merged.setdefault(pin.name, pin)
            if other.version != pin.version:
                raise UsageError(
                    f"{file} pins {pin.name} {pin.version}, an earlier file pins {other.version}",
                    remedy="lock the files together: uv pip compile --generate-hashes FILES",
                )
            merged[pin.name] = Pin(pin.name, pin.version, tuple(sorted({*pin.hashes, *other.hashes})))
    return tuple(sorted(merged.values()))


def _resolve(target: Target, sources: Sources, wishes: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="timeeval-lock-") as scratch:
        extra = Path(scratch, "wishes.in")
        extra.write_text("".join(f"{wish}\n" for wish in wishes), encoding="utf-8")
        command = [uv_binary(), "pip", "compile", "-q", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-emit-index-url", *target.uv_options()]
        command += [option for wheel in sources.projects for option in ("--no-emit-package", wheel.name)]
        # packages may need our projects, and these each other; the option would hide the variable of the user
        places = [str(wheel.file.parent) for wheel in sources.projects]
        places += [place for place in os.environ.get("UV_FIND_LINKS", "").split(",") if place]
        command += [option for place in places for option in ("--find-links", place)]
        return run(
            [*command, *map(str, sources.requirements), str(extra)],
            f"locking {sources.title} for {target}",
            "make the requirements satisfiable for this Python and platform",
        )


def gaps(target: Target, wheels: Iterable[Wheel], versions: Mapping[str, str]) -> list[str]:
    """Return, a line each, what `wheels` require and `versions` (name -> version) does not give, or gives otherwise."""
    from packaging.specifiers import SpecifierSet

    lines = []
    for wheel in wheels:
        if not SpecifierSet(wheel.requires_python).contains(target.full, prereleases=True):
            lines.append(f"{wheel.name} {wheel.version} needs Python {wheel.requires_python}, not {target.full}")
        for requirement in wheel.requires:
            if requirement.marker is not None and not requirement.marker.evaluate(target.markers()):
                continue
            found = versions.get(canonical(requirement.name))
            if found is None:
                lines.append(f"{wheel.name} {wheel.version} needs {requirement.name}, which is not there")
            elif not requirement.specifier.contains(found, prereleases=True):
                lines.append(f"{wheel.name} {wheel.version} needs {requirement}, there is {found}")
    return lines
