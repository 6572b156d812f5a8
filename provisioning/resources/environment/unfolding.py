"""What a wheel becomes when it is installed: each file's place below the prefix, and what installers add.

By the standards of the Python Packaging Authority: binary distribution format, recording installed projects, entry
points.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field

from provisioning.errors import ProvisionError
from provisioning.node.records import parse
from provisioning.node.tree import safe_path

INSTALLER = b"timeeval-provision\n"

_LAUNCHER = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""
"""Starts the interpreter beside it, so that a program still works when its environment got another name."""

_PROGRAM = """\
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({call}())
"""
_ENTRY = re.compile(r"(?P<module>\w+(\.\w+)*)\s*:\s*(?P<call>\w+(\.\w+)*)\s*(\[.*\])?", re.ASCII)
_NAME = re.compile(r"[^/\0\s]([^/\0\r\n]*[^/\0\s])?")
_SIGNED = {"RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"}
_GROUPS = ("console_scripts", "gui_scripts")


@dataclass(slots=True)
class Placed:
    """A file of an environment.

    Attributes
    ----------
    path : str
        Below the prefix.
    source : ZipInfo or bytes
        The entry of the wheel, or what is written instead of one.
    program : bool
        Whether it can be started.
    """

    path: str
    source: zipfile.ZipInfo | bytes
    program: bool = False


@dataclass(slots=True)
class Unfolded:
    """A wheel's files in their final places.

    Parameters
    ----------
    archive : ZipFile
        The wheel.
    minor : str
        Minor version of the interpreter, e.g. ``"3.11"``: it is part of paths.
    """

    archive: zipfile.ZipFile
    minor: str
    files: dict[str, Placed] = field(default_factory=dict, init=False)
    _info: str = field(default="", init=False)
    _programs: dict[str, bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        entries = {info.filename: info for info in self.archive.infolist() if not info.is_dir()}
        infos = {name.split("/")[0] for name in entries if name.split("/")[0].endswith(".dist-info")}
        if len(infos) != 1:
            raise self._refuse(f"it holds {len(infos)} .dist-info folders, not one")
        self._info = infos.pop()
        for name, info in entries.items():
            if name.startswith(self._info + "/") and name.rpartition("/")[2] in _SIGNED:
                continue
            self._place(name, info)
        for name, text in self._entry_points():
            self._start(name, text)
        self._add(f"{self._site}/{self._info}/INSTALLER", INSTALLER)
        self._add(f"{self._site}/{self._info}/RECORD", self._record())

    def sources(self) -> Iterator[Placed]:
        """Yield the modules in site-packages."""
        for placed in self.files.values():
            if placed.path.startswith(self._site + "/") and placed.path.endswith(".py"):
                yield placed

    @property
    def _site(self) -> str:
        return f"lib/python{self.minor}/site-packages"

    def _place(self, name: str, info: zipfile.ZipInfo) -> None:
        path = self._installed(name)
        program = bool(info.external_attr >> 16 & 0o111)
        if not self._is_script(name):
            self._add(path, info, program=program)
            return
        with self.archive.open(info) as stream:
            first = stream.readline(1024)
            if not first.startswith(b"#!python"):
                self._add(path, info, program=True)
                return
            self._start(path.removeprefix("bin/"), stream.read())

    def _is_script(self, name: str) -> bool:
        parts = name.split("/")
        return len(parts) > 2 and parts[0].endswith(".data") and parts[1] == "scripts"

    def _installed(self, name: str) -> str:
        """Return where an entry of the wheel comes to lie, seen from the prefix."""
        parts = name.split("/")
        if len(parts) < 3 or not parts[0].endswith(".data"):
            return f"{self._site}/{name}"
        rest = "/".join(parts[2:])
        project = self._info.removesuffix(".dist-info").rpartition("-")[0]
        folders = {
            "purelib": self._site,
            "platlib": self._site,
            "scripts": "bin",
            "headers": f"include/site/python{self.minor}/{project}",
            "data": "",
        }
        if parts[1] not in folders:
            raise self._refuse(f"{name} belongs to no known kind of files")
        return f"{folders[parts[1]]}/{rest}".lstrip("/")

    def _entry_points(self) -> Iterator[tuple[str, bytes]]:
        """Yield the programs that the wheel declares."""
        placed = self.files.get(f"{self._site}/{self._info}/entry_points.txt")
        if placed is None:
            return
        assert isinstance(placed.source, zipfile.ZipInfo)  # noqa: S101 - nothing else was placed yet
        parser = ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment, method-assign]  # documented to be set
        try:
            parser.read_string(self.archive.read(placed.source).decode("utf-8"))
        except (ConfigError, UnicodeDecodeError) as error:
            raise self._refuse(f"its entry_points.txt cannot be read: {error}") from error
        for group in _GROUPS:
            for name, value in parser.items(group) if parser.has_section(group) else ():
                found = _ENTRY.fullmatch(value.strip())
                if found is None or not _NAME.fullmatch(name):
                    raise self._refuse(f"its entry point {name!r} = {value!r} names no function")
                call = found["call"]
                text = _PROGRAM.format(module=found["module"], first=call.split(".")[0], call=call)
                yield name, text.encode()

    def _start(self, name: str, text: bytes) -> None:
        self._programs[f"bin/{name}"] = _LAUNCHER + text
        self._add(f"bin/{name}", _LAUNCHER + text, program=True)

    def _add(self, path: str, source: zipfile.ZipInfo | bytes, *, program: bool = False) -> None:
        try:
            safe_path(path)
        except ValueError as error:
            raise self._refuse(f"one of its files {error}") from error
        self.files[path] = Placed(path, source, program)

    def _record(self) -> bytes:
        """Return the RECORD of the installation: the wheel's own rows in their new places, and what was added."""
        try:
            listed = parse(self.archive.read(f"{self._info}/RECORD").decode("utf-8"))
        except (KeyError, UnicodeDecodeError) as error:
            raise self._refuse(f"its RECORD cannot be read: {error}") from error
        rows = []
        for name, digest in listed:
            if name.startswith(self._info + "/") and name.rpartition("/")[2] in _SIGNED:
                continue
            path = self._installed(name)
            if path not in self._programs:
                placed = self.files.get(path)
                size = str(placed.source.file_size) if placed and isinstance(placed.source, zipfile.ZipInfo) else ""
                rows.append((self._from_site(path), digest, size))
        own = {**self._programs, f"{self._site}/{self._info}/INSTALLER": INSTALLER}
        rows += [(self._from_site(path), _hash(text), str(len(text))) for path, text in own.items()]
        rows.append((f"{self._info}/RECORD", "", ""))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        return text.getvalue().encode()

    def _from_site(self, path: str) -> str:
        return path.removeprefix(self._site + "/") if path.startswith(self._site + "/") else f"../../../{path}"

    def _refuse(self, why: str) -> ProvisionError:
        return ProvisionError(
            f"{self.archive.filename} cannot be installed: {why}",
            remedy="choose another version of this package, or have its authors mend it",
        )


def _hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
