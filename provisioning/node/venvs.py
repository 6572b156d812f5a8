"""What an environment on this node consists of, and whether somebody changed it. Runs on the node (Python >= 3.8)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, Dict, List

from provisioning.node import records

MARKER = ".timeeval"
BYTE_CODE = "__pycache__"
SCHEMA = "timeeval.environment/1"

# left for a moment to find out which nodes share a folder
_TRACE = ".timeeval-token-"
_SHOWN = 20

Seen = Dict[str, List[Any]]


def site_packages(prefix: Path) -> Path:
    """Return the folder of installed packages of a virtual environment; OSError when there is none."""
    for folder in sorted(prefix.glob("lib/python*/site-packages")):
        if not folder.parent.is_symlink():  # conda has lib/python3.1 beside lib/python3.11
            return folder
    raise FileNotFoundError("no lib/python*/site-packages in %s" % prefix)


def walk(prefix: Path) -> Seen:
    """Return {path: [size, mtime_ns] or [target of a link]} of all files below `prefix` but byte code and our notes.

    Of byte code only its folders are named: interpreters write to them, but a run that had to compile would count it.
    One stat per file and no reading: what was edited, removed or added since the last look shows here.
    """
    seen: Seen = {}
    pending = [""]
    root = str(prefix) + "/"
    while pending:
        folder = pending.pop()
        with os.scandir(root + folder) as entries:
            for entry in entries:
                path = folder + entry.name
                if path == MARKER or path.startswith(_TRACE):
                    continue
                if entry.name == BYTE_CODE:
                    seen[path] = []
                    continue
                if entry.is_symlink():
                    seen[path] = [os.readlink(entry.path)]  # noqa: PTH115 - Path.readlink came with 3.9
                elif entry.is_dir():
                    pending.append(path + "/")
                else:
                    status = entry.stat()
                    seen[path] = [status.st_size, status.st_mtime_ns]
    return seen


def edited(prefix: Path, noted: Seen, *, deep: bool = False) -> list[str]:
    """Return what differs from `noted`, a line per file, at most 20 and one that counts the rest.

    A file whose stat differs is read: with the content its RECORD promises it counts as unchanged. With `deep` every
    file that a RECORD names is read.
    """
    now = walk(prefix)
    if now == noted and not deep:
        return []  # what RECORD files promise is read only where it has to be compared
    promises = promised(prefix, site_packages(prefix))
    lines = []
    for path in sorted(set(now) | set(noted)):
        if path not in now:
            lines.append("%s is missing" % path)
        elif path.endswith("/" + BYTE_CODE):
            continue
        elif path in promises and (deep or now[path] != noted.get(path)):
            if digest_of(prefix / path, promises[path]) != promises[path]:
                lines.append("%s was changed" % path)
        elif path not in noted:
            lines.append("%s was added" % path)
        elif now[path] != noted[path]:
            lines.append("%s was changed" % path)
    return shortened(lines)


def shortened(lines: list[str]) -> list[str]:
    """Return the first lines, and one that counts the rest."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], "and %d files more" % (len(lines) - _SHOWN)]


def promised(prefix: Path, folder: Path) -> dict[str, str]:
    """Return {path below the prefix: hash} of every file that a RECORD in site-packages (`folder`) gives a hash for."""
    promises = {}
    for record in folder.glob("*.dist-info/RECORD"):
        for path, digest in records.parse(record.read_text(encoding="utf-8")):
            if digest:
                promises[os.path.relpath(os.path.join(folder, path), prefix)] = digest  # noqa: PTH118 - holds ".."
    return promises


def digest_of(path: Path, promise: str) -> str:
    """Return a file's digest by the algorithm of a RECORD's hash and in its form; "" for one that proves nothing."""
    algorithm = promise.partition("=")[0]
    if algorithm not in ("sha256", "sha384", "sha512"):
        return ""
    digest = hashlib.new(algorithm)
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return algorithm + "=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def read_marker(prefix: Path) -> dict[str, Any]:
    """Return what `write_marker` noted; {} when `prefix` carries no marker of ours or a damaged one."""
    try:
        marker = json.loads((prefix / MARKER / "environment.json").read_text(encoding="utf-8"))
        files = json.loads((prefix / MARKER / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(marker, dict) or not isinstance(files, dict) or marker.get("schema") != SCHEMA:
        return {}
    return dict(marker, files=files)


def write_marker(prefix: Path, facts: dict[str, Any]) -> None:
    """Note that we made this environment, from what, and the stat of every file in it."""
    folder = prefix / MARKER
    folder.mkdir(exist_ok=True)
    for name, document in (("files.json", walk(prefix)), ("environment.json", dict(facts, schema=SCHEMA))):
        with (folder / name).open("w", encoding="utf-8") as handle:
            json.dump(document, handle, sort_keys=True)
            handle.flush()
            os.fsync(handle.fileno())


def look(prefix: Path, *, deep: bool = False) -> dict[str, Any]:
    """Return what stands at `prefix`.

    ``state`` is "absent", "empty", "ours", "foreign" (an environment or folder we did not make) or "blocked" (not a
    folder of its own: a link, a file); ``why`` explains the last. Of an environment also ``installed``, ``identity``,
    ``lock``, ``compiled``, ``python``, ``starts`` (whether its interpreter is there) and, when it is ours, ``edited``.
    """
    try:
        status = prefix.lstat()
    except FileNotFoundError:
        return {"state": "absent"}
    if stat.S_ISLNK(status.st_mode):
        return {"state": "blocked", "why": "%s is a symbolic link to %s" % (prefix, prefix.resolve())}
    if not stat.S_ISDIR(status.st_mode):
        return {"state": "blocked", "why": "%s is no folder" % prefix}
    if not any(prefix.iterdir()):
        return {"state": "empty"}
    marker = read_marker(prefix)
    found = {"state": "ours" if marker else "foreign", "lock": marker.get("lock"), "compiled": marker.get("compiled")}
    try:
        installed = records.of_folder(site_packages(prefix))
    except OSError as error:
        return dict(found, installed={}, identity=None, edited=["%s" % error], python=None, starts=False)
    return dict(
        found,
        installed=installed,
        identity=records.identity_of(installed),
        python=version_of(prefix),
        starts=os.access(str(prefix / "bin" / "python"), os.X_OK),
        edited=edited(prefix, marker["files"], deep=deep) if marker else [],
    )


def version_of(prefix: Path) -> str:
    """Return the full version of the interpreter that `prefix` was made with, as its pyvenv.cfg says; "" if unsaid."""
    fields = settings_of(prefix)
    return fields.get("version_info", fields.get("version", ""))


def settings_of(prefix: Path) -> dict[str, str]:
    """Return what an environment's pyvenv.cfg says; {} where there is none."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
