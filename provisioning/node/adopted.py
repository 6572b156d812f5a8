"""What an environment that others made consists of: conda, mamba, virtualenv, a module's. Nothing is written there.

What is installed is told by RECORD files and, in a conda prefix, by ``conda-meta``; files in site-packages that neither
names count as one thing more. Digests of files are kept in a note of ours elsewhere, so that only the first look, and a
deep one, reads all of them. Runs on the node (standard library, Python >= 3.8).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List

from provisioning.node import records, venvs
from provisioning.node.tree import read_json, write_json

# neither isolated code nor its imports leave byte code behind
_ASK = (
    "import json, platform, sys; print(json.dumps([platform.python_version(), "
    "sys.implementation.name, sys.prefix, sys.base_prefix]))"
)
_STRAY = "files without a package==?"

Digests = Dict[str, List[Any]]


def look(prefix: Path, minor: str, note: Path, *, deep: bool = False) -> dict[str, Any]:
    """Return what stands at `prefix`, in the words of `venvs.look`.

    ``state`` is "adopted", "absent" or "blocked" (no environment of that minor version). ``outside`` names packages
    that are imported from elsewhere (editable ones), ``shared`` the installation whose packages are seen as well, and
    ``unproven`` the distributions of which nothing tells the files.
    """
    if not os.path.lexists(str(prefix)):
        return {"state": "absent"}
    python, home = prefix / "bin" / "python", prefix.resolve()
    site = home / "lib" / ("python" + minor) / "site-packages"
    try:
        version, kind, own, base = _ask(python)
    except (OSError, ValueError) as error:
        return {"state": "blocked", "why": "%s does not start: %s" % (python, error)}
    if kind != "cpython" or version.split(".")[:2] != minor.split(".") or not site.is_dir():
        return {"state": "blocked", "why": "%s is %s %s, not Python %s" % (python, kind, version, minor)}
    if Path(own).resolve() != home:
        return {"state": "blocked", "why": "%s says that it lives in %s" % (python, own)}
    packages, promised = _conda(home)
    promised.update(venvs.promised(home, site))
    packages.update(records.of_folder(site))
    edited, stray = _compare(home, site, promised, note, deep=deep)
    if stray:
        packages[_STRAY] = hashlib.sha256(json.dumps(stray).encode()).hexdigest()
    return {
        "state": "adopted",
        "installed": packages,
        "identity": records.identity_of(packages),
        "python": version,
        "starts": True,
        "edited": edited,
        "outside": sorted(_outside(site)),
        "shared": base if base != own and _sees_shared(home) else None,
        "unproven": sorted(key.split("==")[0] for key, digest in packages.items() if not digest),
    }


def _ask(python: Path) -> list[str]:
    done = subprocess.run(
        [str(python), "-I", "-B", "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(words[0] if words else "status %d" % done.returncode)
    answer: list[str] = json.loads(done.stdout.decode())
    return answer


def _conda(prefix: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return {"conda:name==version=build": digest} and {path: "sha256=..."} of a conda prefix; empty for any other."""
    packages: dict[str, str] = {}
    promised: dict[str, str] = {}
    for meta in sorted((prefix / "conda-meta").glob("*.json")):
        package = read_json(str(meta))
        if not isinstance(package, dict) or "name" not in package:
            continue
        rows = []
        for row in (package.get("paths_data") or {}).get("paths", ()):
            path, digest = row.get("_path", ""), row.get("sha256_in_prefix") or row.get("sha256")
            if not digest or row.get("path_type") == "softlink" or "__pycache__" in path:
                continue
            rows.append([path, row.get("sha256") or digest])
            promised[path] = "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()
        key = "conda:%s==%s=%s" % (package["name"], package.get("version"), package.get("build"))
        packages[key] = hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()
    return packages, promised


def _compare(
    prefix: Path, site: Path, promised: dict[str, str], note: Path, *, deep: bool
) -> tuple[list[str], list[list[str]]]:
    """Return lines on promised files that hold something else, and [path, digest] of files that nothing promises."""
    known: Digests = {} if deep else read_json(str(note)) or {}
    seen: Digests = {}
    lines, stray = [], []
    below = site.relative_to(prefix).as_posix() + "/"
    loose = {below + path for path in _files(site)}
    for path in sorted(loose | set(promised)):
        promise = promised.get(path, "sha256=")
        try:
            status = (prefix / path).stat()
            row = known.get(path)
            if row is None or row[:2] != [status.st_size, status.st_mtime_ns] or not row[2].startswith(promise[:7]):
                row = [status.st_size, status.st_mtime_ns, venvs.digest_of(prefix / path, promise)]
        except OSError:
            lines.append("%s is missing" % path)
            continue
        seen[path] = row
        if path not in promised:
            # a RECORD and what an installer adds to it say nothing of what is imported
            if path.split("/")[-2].endswith(".dist-info"):
                continue
            stray.append([path, row[2]])
        elif row[2] != promise:
            lines.append("%s was changed" % path)
    if seen != known:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(str(note), seen)
    return venvs.shortened(lines), stray


def _files(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(str(folder)):
        folders[:] = [name for name in folders if name != "__pycache__"]
        below = os.path.relpath(here, str(folder))
        for name in names:
            if not name.endswith(".pyc"):
                yield name if below == "." else "%s/%s" % (below, name)


def _outside(site: Path) -> Iterator[str]:
    for file in site.glob("*.dist-info/direct_url.json"):
        origin = read_json(str(file))
        if isinstance(origin, dict) and (origin.get("dir_info") or {}).get("editable"):
            yield records.canonical(file.parent.name.split("-")[0])


def _sees_shared(prefix: Path) -> bool:
    return venvs.settings_of(prefix).get("include-system-site-packages") == "true"
