"""What a node has of the Python environment: interpreter, prefix, packages, wheels that arrived (standard library)."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from provisioning.node import adopted, codec, venvs
from provisioning.node.room import room
from provisioning.node.shelf import stored

_ASK = (
    "import json, os, platform, sys; from importlib.util import MAGIC_NUMBER as magic; "
    "print(json.dumps([platform.python_version(), sys.prefix == sys.base_prefix, os.path.realpath(sys.executable), "
    "magic.hex()]))"
)


def observe(question: dict[str, Any]) -> dict[str, Any]:
    """Answer for {"prefix", "python": "3.11", "store": folder of wheels, "deep": bool}; {} when there is no prefix.

    ``"adopted": [minor version, path of the note]`` stands for an environment that others made.
    """
    if question["prefix"] is None:
        return {}
    prefix, store = Path(question["prefix"]), Path(question["store"])
    return {
        "machine": platform.machine(),
        "libc": libc(),
        "codecs": codec.offered(),
        "interpreter": interpreter(question["python"]),
        "own_python": platform.python_version(),
        "environment": _look(prefix, question),
        "store": stored(store),
        "room": room(str(prefix.parent)),
        "store_room": room(str(store)),
    }


def _look(prefix: Path, question: dict[str, Any]) -> dict[str, Any]:
    deep = bool(question.get("deep"))
    if question.get("adopted"):
        minor, note = question["adopted"]
        return adopted.look(prefix, minor, Path(note), deep=deep)
    return venvs.look(prefix, deep=deep)


def libc() -> list[str]:
    """Return the C library's name and version, e.g. ["glibc", "2.36"] or ["musl", "1.2"]."""
    name, version = platform.libc_ver()
    if name == "glibc":
        return [name, version]
    for loader in sorted(Path("/lib").glob("ld-musl-*")):
        answer = subprocess.run([str(loader)], stderr=subprocess.PIPE, check=False).stderr.decode()
        versions = [line.split()[-1] for line in answer.splitlines() if line.startswith("Version ")]
        return ["musl", ".".join((versions or ["0.0"])[0].split(".")[:2])]
    return [name or "unknown", version]


def interpreter(minor: str) -> dict[str, str] | None:
    """Return {"path", "version", "magic"} of a CPython of this minor version that is itself no environment."""
    # the system's own come first: they are the ones most likely to be alike on all nodes
    names = ["/usr/bin/python" + minor, "/usr/local/bin/python" + minor, shutil.which("python" + minor)]
    names += [getattr(sys, "_base_executable", sys.executable), shutil.which("python3")]
    for name in dict.fromkeys(name for name in names if name and Path(name).exists()):
        found = described(name)
        if found is not None and found["version"].split(".")[:2] == minor.split("."):
            return found
    return None


def described(program: str) -> dict[str, str] | None:
    """Return {"path", "version", "magic"} of an interpreter; None when it does not run or is an environment's."""
    own = os.path.realpath(sys.executable)
    if sys.prefix == sys.base_prefix and os.path.realpath(program) == own:
        return {"path": own, "version": platform.python_version(), "magic": MAGIC_NUMBER.hex()}  # it runs this
    try:
        answer = subprocess.run(
            [program, "-I", "-c", _ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        version, is_base, path, magic = json.loads(answer.stdout.decode())
    except (OSError, ValueError):
        return None
    return {"path": path, "version": version, "magic": magic} if is_base else None
