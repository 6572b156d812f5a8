"""A build context as one archive that depends on its content alone: no times, owners or modes of this checkout."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from provisioning.errors import UsageError
from provisioning.node.tree import digest_stream

_STAGE = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)


def files(context: Path) -> list[str]:
    """Return what of a folder is sent to the engine, sorted: all of it but what its ``.dockerignore`` leaves out.

    Raises
    ------
    UsageError
        When there is no Dockerfile.
    """
    if not (context / "Dockerfile").is_file():
        raise UsageError(f"{context} has no Dockerfile", remedy="name the folder that holds it as context of the image")
    rules = _rules(context)
    kept = (path for path in _walk(context) if not _ignored(path, rules))
    return sorted({*kept, "Dockerfile"})


def _walk(context: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(context):
        below = Path(folder).relative_to(context)
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from ((below / name).as_posix() for name in [*names, *links])


def _rules(context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """Return (keeps, pattern) of every line of a .dockerignore; the last that matches decides."""
    try:
        lines = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    wishes = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [(wish.startswith("!"), _pattern(wish.lstrip("!").strip().strip("/"))) for wish in wishes]


def _pattern(wish: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", wish.removeprefix("./"))
    text = "".join(parts.get(piece, re.escape(piece)) for piece in pieces)
    # a pattern that matches a folder leaves out all that is in it
    return re.compile(rf"{text}(?:/.*)?\Z", re.DOTALL)


def _ignored(path: str, rules: Sequence[tuple[bool, re.Pattern[str]]]) -> bool:
    ignored = False
    for keeps, pattern in rules:
        if pattern.match(path):
            ignored = not keeps
    return ignored


def bases(dockerfile: str) -> tuple[str, ...]:
    """Return the images that a Dockerfile builds on; stages of its own, ``scratch`` and arguments are none."""
    names, stages = [], {"scratch"}
    for line in dockerfile.splitlines():
        if match := _STAGE.match(line):
            if match[1].lower() not in stages and "$" not in match[1]:
                names.append(
                    match[1] if ":" in match[1].rsplit("/", 1)[-1] or "@" in match[1] else f"{match[1]}:latest"
                )
            stages.add((match[2] or "").lower())
    return tuple(dict.fromkeys(names))


def unnamed_bases(dockerfile: str) -> tuple[str, ...]:
    """Return what stands after FROM where an argument decides which image it is."""
    found = (match[1] for line in dockerfile.splitlines() if (match := _STAGE.match(line)))
    return tuple(name for name in found if "$" in name)


def pack(context: Path, into: BinaryIO) -> None:
    """Write a context as a tar archive: sorted, owner 0, time 0, modes 644 or 755."""
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files(context):
            source = context / path
            entry = tarfile.TarInfo(path)
            if source.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(source.readlink())
                archive.addfile(entry)
                continue
            content = source.read_bytes()
            entry.size, entry.mode = len(content), 0o755 if os.access(source, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(content))


def digest(packed: BinaryIO, base_ids: Mapping[str, str]) -> str:
    """Return the sha256 (hex) of a packed context and of the images it builds on: the same gives the same image."""
    packed.seek(0)
    content, _ = digest_stream(packed)
    packed.seek(0)
    return hashlib.sha256(json.dumps([content, sorted(base_ids.items())]).encode()).hexdigest()
