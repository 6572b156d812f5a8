"""What a bug report needs, on one page: versions, the cluster file, the last commands and what they found."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from provisioning import runlog
from provisioning.errors import ProvisionError
from provisioning.inventory import find, load
from provisioning.masking import mask

PACKAGES = ("timeeval-cluster", "fabric", "paramiko", "asyncssh", "distributed", "dask", "docker", "numpy", "pandas")
PROGRAMS = {"ssh": "-V", "rsync": "--version", "docker": "--version", "uv": "--version"}
COMMANDS = 3
LINES = 40


def report(file: Path | None) -> Iterator[str]:
    """Tell everything, secrets masked; nothing is asked of any node.

    Parameters
    ----------
    file : Path or None
        The cluster file; the nearest one when None.
    """
    yield "== versions"
    yield f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    yield f"{platform.platform()}, {platform.machine()}, {' '.join(platform.libc_ver())}"
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{package} is not installed"
    yield from (f"{name}: {_program(name, option)}" for name, option in PROGRAMS.items())
    found = file or find(Path.cwd())
    if found is None:
        yield "there is no cluster.toml here or above; name one"
        return
    yield f"== {found}"
    try:
        yield mask(found.read_text(encoding="utf-8")).rstrip()
        cluster = load(found)
    except (OSError, UnicodeDecodeError, ProvisionError) as error:
        yield mask(f"it cannot be read: {error}")
        return
    for run in runlog.runs(cluster)[-COMMANDS:]:
        yield f"== {run}"
        yield from _command(run)


def _program(name: str, option: str) -> str:
    if shutil.which(name) is None:
        return "is not installed"
    try:
        done = subprocess.run([name, option], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer: {error}"
    return ((done.stdout or done.stderr).strip().splitlines() or ["said nothing"])[0]


def _command(run: Path) -> Iterator[str]:
    documents = runlog.outcomes(run)
    if not documents:
        yield "it has not ended, or not by itself"
    for document in documents[:-1]:
        told = [f"{finding['severity']} {finding['message']}" for finding in document.get("findings") or ()]
        error = document.get("error")
        told += [f"error {error['message']}"] if error else []
        yield f"{document.get('node')}: {document.get('state', '')} {'; '.join(told)}".rstrip()
    if documents:
        ended = documents[-1]
        when = datetime.fromtimestamp(ended["ended"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        yield f"exit code {ended['exit_code']} at {when}" + (f": {ended['error']}" if ended["error"] else "")
    try:
        lines = (run / runlog.COMMAND).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        yield f"its log cannot be read: {error}"
        return
    yield from lines[-LINES:]
