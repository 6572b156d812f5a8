"""Modules of a user that belong to no project: each travels as a wheel whose version is the digest of its content."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from provisioning.errors import ProvisionError, UsageError
from provisioning.kept import cache_folder
from provisioning.node.records import canonical
from provisioning.resources.environment import project
from provisioning.resources.environment.wheels import Wheel, keep, note_down, noted, wheel_store

PREFIX = "local-"
"""Begins the name of every such wheel; no index may have one of that name in its stead, as nodes ask none."""

_FORMAT = b"1"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: timeeval-provision\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_COMPILED = (".so", ".pyd", ".dylib")


def build(place: Path) -> Wheel:
    """Return the wheel of a module or package; equal content gives equal bytes on every machine.

    Parameters
    ----------
    place : Path
        A file ``NAME.py`` or a folder ``NAME`` with modules in it, imported as ``NAME``.

    Raises
    ------
    ProvisionError
        When it is no module, or one that has to be built.
    """
    files = dict(_files(place))
    name = PREFIX + place.name.removesuffix(".py")
    digest = _digest(files)
    note, store = cache_folder() / "projects" / f"{canonical(name)}-{digest}.json", wheel_store()
    known = noted(note, store)
    if known is None:
        with tempfile.TemporaryDirectory(prefix="timeeval-build-") as scratch:
            known = keep(_write(Path(scratch), name, f"0+{digest[:16]}", files), store)
        note_down(note, known)
    return Wheel(store, known)


def why_not(place: Path) -> str:
    """Return why something cannot be imported as a module; "" when it can."""
    if not (place.is_dir() or place.suffix == ".py"):
        return f"{place} is neither a module (NAME.py) nor a folder of modules"
    if not place.name.removesuffix(".py").isidentifier():
        return f"{place} cannot be imported: '{place.name.removesuffix('.py')}' is no name in Python"
    if any((place / name).is_file() for name in ("pyproject.toml", "setup.py")):
        return f"{place} is a project: name it under projects"
    return ""


def refuse_clashes(modules: Iterable[Wheel], others: Sequence[Wheel]) -> None:
    """Raise `UsageError` where a module would be installed over what another wheel brings, or be hidden by it."""
    for module in modules:
        for other in others:
            both = module.tops & other.tops
            if both and other.file != module.file:
                raise UsageError(
                    f"the module {min(both)} under [environment] modules is also in {other.identity[0]}",
                    remedy="rename it: only one of the two could be imported",
                )


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    why = why_not(place)
    if why:
        raise UsageError(why, remedy="mend [environment] modules in the cluster file")
    paths = [""] if place.is_file() else sorted(project.files(place))
    if place.is_dir() and not any(path.endswith(".py") for path in paths):
        raise UsageError(f"{place} holds no module", remedy="mend [environment] modules in the cluster file")
    for path in paths:
        if path.endswith(_COMPILED):
            raise UsageError(
                f"{place / path} is compiled for one kind of machine",
                remedy=f"make {place} a project with a pyproject.toml that builds it, and name that under projects",
            )
        try:
            yield f"{place.name}/{path}".rstrip("/"), (place / path if path else place).read_bytes()
        except OSError as error:
            raise ProvisionError(
                f"{place / path} cannot be read: {error.strerror}", remedy="mend its rights"
            ) from error


def _digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256(_FORMAT)
    for path, content in files.items():
        total.update(f"\0{path}\0{hashlib.sha256(content).hexdigest()}".encode())
    return total.hexdigest()


def _write(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """Write a wheel; nothing is compressed, because libraries differ in how they do it."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": _WHEEL,
    }
    rows = [f"{_quoted(path)},{_hash(data)},{len(data)}\n" for path, data in content.items()]
    content[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for path, data in content.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, data)
    return wheel


def _quoted(path: str) -> str:
    return '"{}"'.format(path.replace('"', '""')) if set(path) & set(',"\r\n') else path


def _hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
