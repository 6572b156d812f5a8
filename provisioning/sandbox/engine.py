"""The local Docker Engine, reached through its command line client.

The client follows the user's own context, proxy and credential settings, which the sandbox should too; a second way to
the engine would have to learn all of them again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.sandbox.errors import SandboxError

__all__ = ["Engine", "EngineFacts", "tail"]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the sandbox must know of the engine before it starts containers.

    Parameters
    ----------
    version : str
        The engine's release.
    cgroup_version : int
        1 or 2.
    obstacle : str or None
        Why nodes cannot be had on this engine, where that is known beforehand.
    """

    version: str
    cgroup_version: int
    obstacle: str | None


def tail(text: str, lines: int = 12) -> str:
    """Give the last lines of a log, indented for a message."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def _obstacle(info: dict[str, Any]) -> str | None:
    if "Docker Desktop" in info.get("OperatingSystem", ""):
        return "Docker Desktop keeps its containers in a virtual machine, where this one cannot reach their addresses"
    if "name=rootless" in (info.get("SecurityOptions") or ()):
        return "a rootless engine cannot start the nodes' own engines, and this machine cannot reach their addresses"
    return None


class Engine:
    """Calls of the ``docker`` client, each with a time limit and an error that shows what the client said.

    Parameters
    ----------
    program : str
        The client's name or path.
    """

    def __init__(self, program: str = "docker") -> None:
        self.program = program

    def attempt(self, *args: str, stdin: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Call the client and give back what it said, whatever its exit status.

        Parameters
        ----------
        *args : str
            The client's arguments.
        stdin : str or None
            Text for its standard input; none means an empty one.
        timeout : float
            Seconds after which the client is ended.

        Returns
        -------
        subprocess.CompletedProcess[str]
            Exit status and both outputs.

        Raises
        ------
        SandboxError
            No client is installed, or it took too long.
        """
        try:
            return subprocess.run(
                [self.program, *args],
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise SandboxError(
                f"there is no `{self.program}` command on this machine",
                remedy="install Docker (Debian, Ubuntu: `sudo apt-get install docker.io`)",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SandboxError(
                f"`{self.program} {args[0]}` gave no answer within {timeout:.0f} s",
                remedy="see whether the Docker Engine is well: `docker info`",
            ) from error

    def run(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Call the client and give back its output; an exit status other than 0 is an error.

        Parameters
        ----------
        *args : str
            The client's arguments.
        stdin : str or None
            Text for its standard input.
        timeout : float
            Seconds after which the client is ended.

        Returns
        -------
        str
            The client's standard output without blanks at its ends.

        Raises
        ------
        SandboxError
            The call failed; the message ends with the last lines that the client wrote.
        """
        done = self.attempt(*args, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            # A build's own log is on standard output with one builder and on standard error with the other.
            both = (done.stdout, done.stderr) if args[0] == "build" else (done.stderr or done.stdout,)
            said = tail("\n".join(text.strip() for text in both if text.strip()), 25)
            raise SandboxError(f"`{self.program} {args[0]}` failed with exit status {done.returncode}:\n{said}")
        return done.stdout.strip()

    def facts(self) -> EngineFacts:
        """Ask the engine what it is.

        Returns
        -------
        EngineFacts
            Version, cgroup version and system.

        Raises
        ------
        SandboxError
            No engine answers this user.
        """
        done = self.attempt("info", "--format", "{{json .}}", timeout=30)
        info: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        if done.returncode != 0 or not info.get("ServerVersion"):
            said = "; ".join(info.get("ServerErrors") or ()) or done.stderr.strip()
            raise SandboxError(
                f"no Docker Engine answers this user: {said}",
                remedy="start it (`sudo systemctl start docker`), or join its group (`sudo usermod -aG docker $USER`, "
                "then log in anew)",
            )
        return EngineFacts(
            version=info["ServerVersion"],
            cgroup_version=int(info.get("CgroupVersion") or 1),
            obstacle=_obstacle(info),
        )

    def image_id(self, tag: str) -> str | None:
        """Give the id of a local image, or None where there is none of this name."""
        done = self.attempt("image", "inspect", "--format", "{{.Id}}", tag)
        return done.stdout.strip() if done.returncode == 0 else None

    def build(self, tag: str, context: Path, build_args: Sequence[str] = (), *, timeout: float = 900) -> None:
        """Build an image on the machine's own network, so that package mirrors are reached as the machine reaches them.

        Parameters
        ----------
        tag : str
            Name of the image.
        context : Path
            Folder with the Dockerfile.
        build_args : sequence of str
            ``NAME=VALUE``, or ``NAME`` alone to hand on the value from this process's environment.
        timeout : float
            Seconds after which the build is ended.
        """
        extra = [word for value in build_args for word in ("--build-arg", value)]
        self.run("build", "--network", "host", "--tag", tag, *extra, str(context), timeout=timeout)

    def inspect(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Give the engine's description of containers or networks; names that do not exist are left out."""
        if not names:
            return []
        done = self.attempt("inspect", *names)
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found
