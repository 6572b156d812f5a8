"""Other software in an environment of its own, and a process in it that answers requests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

UPSTREAM = ("TimeEval==1.5.0", "setuptools<81")


PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
}
"""Where Debian has the programs that benchmarks start; all others are in a package of their own name."""


def need(*programs: str) -> None:
    """End the benchmark with what to install if one of `programs` is not on this machine."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = sorted({PACKAGES.get(name, name) for name in missing})
        sys.exit(
            f"This benchmark needs {', '.join(missing)} on this machine: sudo apt-get install {' '.join(packages)}"
        )


def python_with(requirements: Sequence[str], python: str = "3.11") -> Path:
    """Return the interpreter of an environment with `requirements`, made on first use in the user's cache folder."""
    digest = hashlib.sha256("\n".join((python, *requirements)).encode()).hexdigest()[:12]
    folder = Path.home() / ".cache" / "timeeval-cluster" / "benchmarks" / digest
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        uv = str(Path(sys.prefix) / "bin" / "uv")
        uv = uv if Path(uv).exists() else shutil.which("uv") or "uv"
        sys.stderr.write(f"Installing {', '.join(requirements)} into {folder}\n")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter)]
        subprocess.run([*install, *requirements], check=True)
        complete.touch()
    return interpreter


class Worker:
    """A process that answers one JSON line with one JSON line; its threads are limited to one."""

    def __init__(self, interpreter: Path, script: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            # -P: the script's folder holds modules that must not hide the peer's.
            [str(interpreter), "-P", "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.home(),
            env={**os.environ, **threads},
        )

    def ask(self, **request: object) -> dict[str, Any]:
        """Return the answer to one request."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The benchmark's worker ended with code {process.wait()} on {request}.")
        result: dict[str, Any] = json.loads(answer)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
