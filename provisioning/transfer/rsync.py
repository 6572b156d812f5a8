"""One rsync process: the copier below the engine. What it copies is proven by others afterwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from provisioning.errors import NodeError, ProvisionError, UnreachableError, UsageError
from provisioning.node.land import PARTIAL
from provisioning.rsh import handover

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

STALL_SECONDS = 60
LOST = {10, 12, 30, 35, 255}
"""rsync's own words for: socket, protocol stream, time-out of data, time-out of the daemon, remote shell."""

_PROGRESS = re.compile(rb"([\d,.]+)\s+\d+%")


class Copier:
    """Starts rsync between the driver and one node, and ends it when asked to.

    Parameters
    ----------
    cluster : Cluster
    node : Node
        For the driver's own node files are copied without any remote shell.
    bwlimit : int or None
        Bytes per second at most.
    """

    def __init__(self, cluster: Cluster, node: Node, bwlimit: int | None = None) -> None:
        self._bwlimit = bwlimit
        self.cluster = cluster
        self.node = node
        self._process: subprocess.Popen[bytes] | None = None

    def push(self, source: Path, paths: Sequence[str], target: str, tell: Callable[[int], None]) -> None:
        """Copy files below a folder of the driver into a folder of the node.

        Parameters
        ----------
        source : Path
        paths : sequence of str
            Files below `source`; a link stands for the file it leads to.
        target : str
            Folder on the node; exists.
        tell : callable
            Gets the bytes sent so far.

        Raises
        ------
        ProvisionError
            When not all files were sent.
        """
        self._run(["--copy-links", f"{source}/", self._there(target)], paths, tell)

    def pull(self, source: str, paths: Sequence[str], target: Path, tell: Callable[[int], None], most: int) -> None:
        """Copy files below a folder of the node into a folder of the driver; links are not followed.

        Files that have gone meanwhile are no error: who asked for them sees that they did not come.
        """
        options = ["--no-links", f"--max-size={most}"]
        self._run([*options, self._there(f"{source}/"), f"{target}/"], paths, tell, missing_is_fine=True)

    def stop(self) -> None:
        """End a running copy; what has arrived in part stays for the next one."""
        if self._process is not None:
            self._process.terminate()

    def _there(self, folder: str) -> str:
        return folder if self.node.is_driver else f"node:{folder}"

    def _run(
        self,
        options: Sequence[str],
        paths: Sequence[str],
        tell: Callable[[int], None],
        *,
        missing_is_fine: bool = False,
    ) -> None:
        program = shutil.which("rsync")
        if program is None:
            raise UsageError("rsync is not installed on this machine", remedy="install it: apt-get install rsync")
        argv = [program, "--secluded-args", "--files-from=-", "--from0", f"--partial-dir={PARTIAL}", "--no-motd"]
        argv += [f"--timeout={STALL_SECONDS}", "--info=progress2", "--no-inc-recursive"]
        # a folder that is read-only at its source must not become one in which nothing can be placed
        argv += ["--perms", "--chmod=D755,F644"]
        if not self.node.is_driver:
            argv += ["--compress", "--compress-level=1"]
            if self._bwlimit is not None:
                argv.append(f"--bwlimit={max(1, self._bwlimit // 1024)}k")
        with handover(self.cluster, self.node) as way, tempfile.TemporaryFile() as complaints:
            env = {name: value for name, value in os.environ.items() if not name.startswith("RSYNC_")}
            self._process = subprocess.Popen(
                [*argv, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**env, **way.env, "LC_ALL": "C"},
            )
            # each name with its end: rsync 3.5.0 forgets a last one without it where its buffer of 4096 bytes is full
            status = _converse(self._process, b"".join(os.fsencode(path) + b"\0" for path in paths), tell)
            if status == 0 or (status in (23, 24) and missing_is_fine):
                return
            complaints.seek(0)
            raise way.error() or self._explain(status, complaints)

    def _explain(self, status: int, complaints: IO[bytes]) -> ProvisionError:
        lines = [line.strip() for line in complaints.read().decode(errors="replace").splitlines() if line.strip()]
        full = next((line for line in lines if "No space left" in line or "quota exceeded" in line), None)
        if full is not None:
            return NodeError(
                f"the disk became full: {full}", host=self.node.name, remedy="make room there, then run again"
            )
        said = next((line for line in lines if not line.startswith("rsync error")), lines[0] if lines else "")
        kind = UnreachableError if status in LOST or status < 0 else NodeError
        error = kind(f"rsync ended with status {status}: {said}", host=self.node.name, remedy="run the command again")
        error.details = "\n".join(lines)
        return error


def _converse(process: subprocess.Popen[bytes], names: bytes, tell: Callable[[int], None]) -> int:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    with process:
        try:
            process.stdin.write(names)
            process.stdin.close()
        except BrokenPipeError:
            pass  # rsync has ended already, its status says why
        # Nothing may stay in our buffers, and rsync ends by itself when nobody reads its progress any more: after our
        # sudden death nothing goes on.
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            for found in _PROGRESS.findall(piece):
                tell(int(found.replace(b",", b"").replace(b".", b"")))
        return process.wait()
