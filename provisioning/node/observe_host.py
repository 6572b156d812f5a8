"""What a machine can do: the facts that `check` looks at and that tell targets apart."""

from __future__ import annotations

import json
import os
import platform
import pwd
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from provisioning.node import logind
from provisioning.node.docker import docker
from provisioning.node.room import room
from provisioning.node.tools import RefusedError, run

VECTOR_UNITS = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "asimd",
    "sve",
)
"""Processor features by which numerical libraries choose their code."""


def observe(question: Dict[str, Any]) -> Dict[str, Any]:
    """Answer ``{"paths": [folders that are managed], "python": minor version or None}``.

    Sizes are bytes. What is not there is None, or a dictionary with ``error`` and ``remedy``.
    """
    user = pwd.getpwuid(os.getuid())
    return {
        "hostname": socket.gethostname(),
        "machine_id": _first_line("/etc/machine-id"),
        "boot_id": _first_line("/proc/sys/kernel/random/boot_id"),
        "namespaces": [_link("/proc/self/ns/" + kind) for kind in ("pid", "net", "uts")],
        "user": user.pw_name,
        "uid": user.pw_uid,
        "shell": user.pw_shell,
        "system": platform.system(),
        "os": _system(),
        "cpu": processor(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": libc(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "wanted_python": None if question["python"] is None else _wanted(question["python"]),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _memory(),
        "rsync": _rsync(),
        "logout": logind.peril(),
        "docker": _docker(),
        "rooms": {path: room(path) for path in question["paths"]},
    }


def _first_line(path: str) -> Optional[str]:
    try:
        return Path(path).read_text().strip() or None
    except OSError:
        return None


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)  # noqa: PTH115 - the link of a namespace leads to no path
    except OSError:
        return None


def libc() -> List[str]:
    """Return name and version of the C library: ``["glibc", "2.36"]`` or ``["musl", ""]``."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name, version = "", ""
    return [name, version] if name else ["musl" if any(Path("/lib").glob("ld-musl-*")) else "unknown", ""]


def _system() -> Optional[str]:
    """Return the name of the distribution."""
    for line in (_first_line("/etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return None


def processor() -> Dict[str, Any]:
    """Return what decides how fast numbers are computed, and by which instructions."""
    fields = {}  # type: Dict[str, str]
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    arm = " ".join(fields[name] for name in ("cpu implementer", "cpu part", "cpu revision") if name in fields)
    there = set((fields.get("flags") or fields.get("features") or "").split())
    return {
        "model": fields.get("model name") or arm or platform.processor() or "unknown",
        "units": [unit for unit in VECTOR_UNITS if unit in there],
        "smt": _first_line("/sys/devices/system/cpu/smt/active") == "1",
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def _memory() -> Dict[str, int]:
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable", "SwapTotal"):
            values[name] = int(rest.split()[0]) * 1024
    return {"total": values["MemTotal"], "available": values.get("MemAvailable", 0), "swap": values.get("SwapTotal", 0)}


def _wanted(minor: str) -> Dict[str, Any]:
    """Look for the Python that the environment is to be made of; nothing else of the node is needed to make it."""
    own = "%d.%d" % sys.version_info[:2] == minor
    return {"minor": minor, "executable": sys.executable if own else shutil.which("python" + minor)}


def _rsync() -> Optional[str]:
    try:
        words = run(["rsync", "--version"], timeout=20.0).split()
    except RefusedError:
        return None
    return words[2] if len(words) > 2 else "unknown"


def _docker() -> Dict[str, Any]:
    try:
        info = json.loads(docker("info", "--format", "{{json .}}"))
    except RefusedError as error:
        return {"error": str(error), "remedy": error.remedy}
    if not info.get("ServerVersion"):
        cause = "; ".join(info.get("ServerErrors") or []) or "it does not answer"
        denied = "permission denied" in cause.lower()
        remedy = "add this user to the group docker and log in anew" if denied else "start the Docker engine"
        return {"error": "the Docker engine is not reached: " + cause, "remedy": remedy}
    root = info.get("DockerRootDir") or "/var/lib/docker"
    return {
        "version": info["ServerVersion"],
        "machine": info.get("Architecture"),
        "driver": info.get("Driver"),
        "cgroup": str(info.get("CgroupVersion") or "1"),
        "limits_memory": bool(info.get("MemoryLimit")),
        "rootless": any("rootless" in option for option in info.get("SecurityOptions") or []),
        "root": root,
        "room": room(root),
    }
