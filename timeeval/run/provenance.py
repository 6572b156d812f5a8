"""Where a run comes from: code, command, versions, machine."""

from __future__ import annotations

import getpass
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
_PACKAGES = ("numpy", "pandas", "scikit-learn", "dask", "distributed", "docker", "cloudpickle")


def collect(
    *,
    place: str,
    proof: Mapping[str, Any] | None,
    needs: Mapping[str, Any],
    local_modules: Sequence[str],
    origin: Mapping[str, str] | None = None,
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
    local_modules : sequence of str
        Modules that travel with the jobs.
    origin : mapping, optional
        Cluster file, and the folder on its nodes that experiments write to.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return {
        "command": sys.argv,
        "script": script,
        "working_directory": str(Path.cwd()),
        "git": _git(Path(script).resolve().parent if script else Path.cwd()),
        "versions": {"timeeval-cluster": __version__, "python": platform.python_version(), **_versions()},
        "driver": _machine(),
        "engine": place,
        "proof": None if proof is None else dict(proof),
        "origin": None if origin is None else dict(origin),
        "needs": dict(needs),
        "local_modules": list(local_modules),
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


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit and state of the repository around the script; None where there is none."""
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "branch": _run_git(folder, "rev-parse", "--abbrev-ref", "HEAD"), "changed": bool(changes)}


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
