"""What a wheel must fit: Python minor version, architecture and C library of the nodes that share an environment."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OLD_NAMES = {(2, 5): "manylinux1", (2, 12): "manylinux2010", (2, 17): "manylinux2014"}
# the versions of the C library for which uv knows a platform of its own
_UV_GLIBC = (17, 28, *range(31, 41))


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Nodes for which the same wheels are right.

    Attributes
    ----------
    python : str
        Minor version, e.g. ``"3.11"``.
    full : str
        The lowest full version among the nodes; environment markers are evaluated for it.
    machine : str
        Architecture as `platform.machine` names it.
    libc : str
        ``"glibc"`` or ``"musl"``.
    libc_version : tuple of int
        The lowest one among the nodes: its wheels run on all of them.
    """

    python: str
    full: str
    machine: str
    libc: str
    libc_version: tuple[int, int]

    def __str__(self) -> str:
        libc = ".".join(map(str, self.libc_version))
        return f"Python {self.python} on {self.machine} with {self.libc} {libc}"

    @property
    def slug(self) -> str:
        """A name for files."""
        return f"py{self.python}-{self.machine}-{self.libc}{self.libc_version[0]}.{self.libc_version[1]}"

    def platforms(self) -> list[str]:
        """Return the platform tags of wheels that run there, the newest first."""
        major, minor = self.libc_version
        if self.libc == "musl":
            return [f"musllinux_{major}_{step}_{self.machine}" for step in range(minor, -1, -1)]
        tags = []
        for step in range(minor, 4, -1):
            tags.append(f"manylinux_{major}_{step}_{self.machine}")
            if (major, step) in _OLD_NAMES:
                tags.append(f"{_OLD_NAMES[major, step]}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    def pip_options(self) -> list[str]:
        """Return the options by which pip chooses wheels for this target instead of for itself."""
        abi = "cp" + self.python.replace(".", "")
        options = ["--python-version", self.python, "--implementation", "cp"]
        options += [option for name in (abi, "abi3", "none") for option in ("--abi", name)]
        return options + [option for name in self.platforms() for option in ("--platform", name)]

    def uv_options(self) -> list[str]:
        """Return the options by which uv resolves for this target."""
        if self.libc == "musl":
            name = f"{self.machine}-unknown-linux-musl"
        else:
            known = [step for step in _UV_GLIBC if step <= self.libc_version[1]] or [_UV_GLIBC[0]]
            name = f"{self.machine}-manylinux_2_{known[-1]}"
        return ["--python-version", self.full, "--python-platform", name]

    def markers(self) -> dict[str, str]:
        """Return the values of environment markers (PEP 508) on these nodes."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full,
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }


def of_driver() -> Target:
    """Return the target that this very interpreter belongs to."""
    libc, version = platform.libc_ver()
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Target(minor, platform.python_version(), platform.machine(), libc or "musl", _version(version or "1.2"))


def group(observed: Mapping[str, Mapping[str, Any]], python: str) -> dict[str, Target]:
    """Return the target of every node that has an interpreter of the minor version `python`.

    Parameters
    ----------
    observed : mapping
        Node name -> the answer of `provisioning.node.observe_environment`.
    python : str
        The minor version asked for.
    """
    members: dict[tuple[str, str], list[str]] = {}
    for name, seen in observed.items():
        if seen.get("interpreter"):
            members.setdefault((str(seen["machine"]), str(seen["libc"][0])), []).append(name)
    targets = {}
    for (machine, libc), names in members.items():
        libc_version = min(_version(str(observed[name]["libc"][1])) for name in names)
        full = min((str(observed[name]["interpreter"]["version"]) for name in names), key=_parts)
        for name in names:
            targets[name] = Target(python, full, machine, libc, libc_version)
    return targets


def _parts(version: str) -> list[int]:
    return [int("".join(digit for digit in part if digit.isdigit()) or 0) for part in version.split(".")]


def _version(text: str) -> tuple[int, int]:
    parts = [*_parts(text), 0, 0]
    return parts[0], parts[1]
