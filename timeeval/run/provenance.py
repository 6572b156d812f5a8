"""Where a run comes from: code, command, versions, machine."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval._version import __version__

if TYPE_CHECKING:
    from timeeval.run.records import RunInfo

FILE_NAME = "run.json"
GIT_SECONDS = 10
BROUGHT = ".timeeval-code.json"
"""In the working directory of a script that was taken to another machine: the state of its code where it came from."""

_PACKAGES = ("numpy", "pandas", "scikit-learn", "dask", "distributed", "docker", "cloudpickle")


def collect(
    *,
    place: str,
    proof: Mapping[str, Any] | None,
    needs: Mapping[str, Any],
    local_modules: Mapping[str, str],
    origin: Mapping[str, str] | None = None,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what ``run.json`` says of a run, JSON-able.

    Parameters
    ----------
    place : str
        Name of the engine.
    proof : mapping, optional
        What the gate saw of the nodes.
    needs : mapping
        The document of needs.
    local_modules : mapping of str to str
        The user's own modules, which travel with the run: SHA-256 of their sources, by name.
    origin : mapping, optional
        Cluster file, and the folder on its nodes that experiments write to.
    hosts : mapping, optional
        What is known of each host: facts, threads, calibration.
    """
    from timeeval.cluster import masking

    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return {
        "command": masking.arguments(sys.argv),
        "script": script,
        "script_digest": None if script is None else _digest_of(Path(script)),
        "working_directory": str(Path.cwd()),
        "git": state_of_code(Path(script).resolve().parent if script else Path.cwd()),
        "versions": {"timeeval-cluster": __version__, "python": platform.python_version(), **_versions()},
        "driver": _machine(),
        "engine": place,
        "proof": None if proof is None else dict(proof),
        "hosts": {name: dict(known) for name, known in (hosts or {}).items()},
        "origin": None if origin is None else dict(origin),
        "seed": {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"), "experiments": "CRC-32 of the name of each"},
        "needs": dict(needs),
        "local_modules": dict(local_modules),
    }


def write(results_path: Path, runs: Sequence[RunInfo]) -> None:
    """Write ``run.json``: all runs of the folder, oldest first."""
    document = {
        "schema": "timeeval.run/1",
        "runs": [{"id": run.id, "number": run.number, "started": run.started, **run.info} for run in runs],
    }
    partial = results_path / f"{FILE_NAME}.part"
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(results_path / FILE_NAME)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # not every node has every package
    return found


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    return {
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "threads": threads,
    }


def state_of_code(folder: Path) -> dict[str, Any] | None:
    """Return commit and state of the repository around the script; None where there is none.

    ``diff`` is the SHA-256 (hex) of what ``git diff HEAD`` says, None where nothing was changed; ``untracked`` is the
    number of files that git does not know and was not told to pass over.
    """
    brought = Path.cwd() / BROUGHT
    if brought.is_file():
        told: dict[str, Any] | None = json.loads(brought.read_text(encoding="utf-8"))
        return told
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _run_git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color")
    untracked = _run_git(folder, "ls-files", "--others", "--exclude-standard", "-z", ":/") or b""
    branch = _run_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or b""
    return {
        "commit": commit.decode().strip(),
        "branch": branch.decode(errors="replace").strip(),
        "changed": bool(diff),
        "diff": hashlib.sha256(diff).hexdigest() if diff else None,
        "untracked": untracked.count(b"\0"),
    }


def _run_git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None  # it was read from elsewhere
