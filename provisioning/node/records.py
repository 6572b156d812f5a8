"""What RECORD files say is installed, in words that do not depend on who installed it.

An installer copies a wheel's files and adds some of its own: its name, byte code, scripts with an interpreter's path.
Without these, the RECORD in a wheel and that in an environment say the same, so the driver knows from wheels alone
what it must find on every node.

Runs on the node (standard library, Python >= 3.8) and on the driver.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Iterable, Tuple

Row = Tuple[str, str]

_ADDED = {"INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json", "uv_cache.json"}


def parse(text: str) -> list[Row]:
    """Return (path, hash) of every line of a RECORD."""
    return [(row[0], row[1] if len(row) > 1 else "") for row in csv.reader(io.StringIO(text)) if row]


def normalised(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that wheel and installation have in common, sorted, with paths as installed."""
    kept = []
    for path, digest in rows:
        installed = installed_path(path)
        if installed is not None:
            kept.append((installed, digest))
    return sorted(kept)


def installed_path(path: str) -> str | None:
    """Return where a file of a wheel comes to lie, seen from site-packages; None for what installers make their own."""
    parts = path.split("/")
    if "__pycache__" in parts or path.endswith(".pyc"):
        return None
    if len(parts) > 1 and parts[0].endswith(".data"):
        scheme, rest = parts[1], "/".join(parts[2:])
        if scheme in ("purelib", "platlib"):
            path = rest
        elif scheme == "data":
            path = "../../../" + rest
        else:
            return None
    elif len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in _ADDED:
        return None
    if path.startswith("../") and path.lstrip("./").split("/")[0] in ("bin", "include"):
        return None
    return path


def digest_of(rows: Iterable[Row]) -> str:
    """Return the SHA-256 (hex) of normalised rows."""
    return hashlib.sha256("\n".join("%s,%s" % row for row in rows).encode()).hexdigest()


def identity_of(installed: dict[str, str]) -> str:
    """Return the SHA-256 (hex) of {"name==version": digest of its RECORD}: the identity of an environment."""
    return hashlib.sha256(json.dumps(installed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def canonical(name: str) -> str:
    """Return a project's name as indexes compare it: lower case, runs of ``-_.`` as one ``-``."""
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def key_of(metadata: str) -> str:
    """Return ``name==version`` from the text of a METADATA file."""
    fields: dict[str, str] = {}
    for line in metadata.splitlines():
        if not line.strip():
            break
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return "%s==%s" % (canonical(fields.get("name", "?")), fields.get("version", "?"))


def of_wheel(path: Path) -> tuple[str, str]:
    """Return (``name==version``, digest of the normalised RECORD) of a wheel; ValueError when it has no such file."""
    with zipfile.ZipFile(path) as archive:
        infos = sorted({name.split("/")[0] for name in archive.namelist() if name.split("/")[0].endswith(".dist-info")})
        if len(infos) != 1:
            raise ValueError("%s holds %d .dist-info folders, not one" % (path, len(infos)))
        record = archive.read(infos[0] + "/RECORD").decode("utf-8")
        metadata = archive.read(infos[0] + "/METADATA").decode("utf-8", "replace")
    return key_of(metadata), digest_of(normalised(parse(record)))


def distributions(folder: str) -> list[str]:
    """Return the names of the .dist-info folders in a folder of installed packages, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.endswith(".dist-info"))


def of_folder(site_packages: Path) -> dict[str, str]:
    """Return {"name==version": digest} of what is installed in a site-packages folder; "" where RECORD is missing."""
    installed = {}
    for folder in sorted(site_packages.iterdir()):
        if folder.suffix == ".egg-info":
            installed[canonical(folder.stem) + "==?"] = ""
        if folder.suffix != ".dist-info":
            continue
        key, record = canonical(folder.name.split("-")[0]) + "==?", ""
        try:
            key = key_of((folder / "METADATA").read_text(encoding="utf-8", errors="replace"))
            record = digest_of(normalised(parse((folder / "RECORD").read_text(encoding="utf-8"))))
        except OSError:
            record = ""
        installed[key] = record
    return installed
