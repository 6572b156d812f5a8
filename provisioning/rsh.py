"""rsync's remote shell: ``python -m provisioning.rsh HOST rsync --server …``.

rsync would let the node's login shell read its command line. This goes the way of all programs instead
(`provisioning.frames`): `/bin/sh` over OpenSSH's shared connection, rsync's arguments as JSON, and after that nothing
but bytes in both directions. Whom to reach stands in a file of mode 0600, whose path is in the environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from provisioning import frames
from provisioning.endings import ended_early, failure, no_python
from provisioning.errors import NodeError, ProvisionError, UnreachableError
from provisioning.runtime import runtime_dir
from provisioning.sources import collect
from provisioning.ssh import Endpoint, OpenSSHError, explain, openssh_argv, resolve

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

__all__ = ["Handover", "handover"]

VARIABLE = "TIMEEVAL_RSH"
PROGRAM = "provisioning.node.run_rsync"
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Handover:
    """What an rsync process needs to reach one node.

    Attributes
    ----------
    env : dict of str to str
        To be added to the environment of rsync, which then reaches the node as ``node:``.
    """

    env: dict[str, str]

    def error(self) -> ProvisionError | None:
        """Say why the node was not reached; None when it was. Asked after rsync has failed."""
        report = Path(f"{self.env[VARIABLE]}.error")
        if not report.is_file():
            return None
        told = json.loads(report.read_text(encoding="utf-8"))
        kind = UnreachableError if told["unreachable"] else NodeError
        return kind(told["message"], host=told["host"], remedy=told["remedy"])


@contextlib.contextmanager
def handover(cluster: Cluster, node: Node) -> Iterator[Handover]:
    """Prepare what rsync needs to reach a node, for as long as the context lasts.

    Parameters
    ----------
    cluster : Cluster
    node : Node
        The driver's own node is reached by a local process.

    Yields
    ------
    Handover
    """
    target = {"host": node.name, "endpoint": None if node.is_driver else resolve(cluster, node).to_json()}
    with tempfile.TemporaryDirectory(prefix="rsh-", dir=runtime_dir()) as folder:
        file = Path(folder) / "target"
        file.touch(mode=0o600)
        file.write_text(json.dumps(target), encoding="utf-8")
        shell = f"{shlex.quote(sys.executable)} -m provisioning.rsh"
        yield Handover(env={VARIABLE: str(file), "RSYNC_RSH": shell})


def main(argv: list[str]) -> int:
    """Be rsync's remote shell.

    Parameters
    ----------
    argv : list of str
        ``[HOST, "rsync", "--server", ...]`` as rsync gives them.

    Returns
    -------
    int
        Exit status of the remote rsync; 255 when the node was not reached.
    """
    file = Path(os.environ[VARIABLE])
    target = json.loads(file.read_text(encoding="utf-8"))
    host = str(target["host"])
    endpoint = Endpoint.from_json(target["endpoint"]) if target["endpoint"] is not None else None
    if argv[1:3] != ["rsync", "--server"]:
        sys.stderr.write("timeeval: this remote shell starts rsync's server side and nothing else\n")
        return 255
    command = [frames.SHELL] if endpoint is None else [*openssh_argv(endpoint), frames.SHELL]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the process has no pipes")
    noise = _Noise(process.stderr)
    try:
        first = _begin(process.stdin, process.stdout, host, argv[2:])
    except (ProvisionError, _EndedError) as error:
        process.kill()
        told = _explain(error, process.wait(), noise.text(), host, endpoint)
        unreachable = isinstance(told, UnreachableError)
        report = {"message": told.message, "host": host, "remedy": told.remedy, "unreachable": unreachable}
        Path(f"{file}.error").write_text(json.dumps(report), encoding="utf-8")
        return 255
    noise.forward()
    for ours in (0, 1):
        os.set_blocking(ours, True)  # rsync hands its sockets over as it uses them itself
    for pipe in (process.stdin, process.stdout):
        # Fewer, larger turns; the kernel may allow an unprivileged user less.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE)
    threading.Thread(target=_carry, args=(0, process.stdin), daemon=True).start()
    _write_all(1, first)
    _move(process.stdout.fileno(), 1)
    return process.wait()


class _EndedError(Exception):
    """The line ended before rsync ran; carries what was read."""


class _Noise:
    """Standard error of ssh: kept until rsync runs, then passed on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = bytearray()
        self._passing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while piece := os.read(self._stream.fileno(), PIECE):
            if self._passing.is_set():
                _write_all(2, piece)
            else:
                self._kept += piece

    def forward(self) -> None:
        self._passing.set()

    def text(self) -> str:
        self._thread.join(2)
        return self._kept.decode("utf-8", "replace")


def _begin(to: IO[bytes], back: IO[bytes], host: str, arguments: list[str]) -> bytes:
    """Bring rsync to run on the node; returns what it has said so far."""
    decoder = frames.Decoder()
    _send(to, frames.FIRST_LINE)
    while decoder.word is None:
        _receive(back, decoder)
    if decoder.word != "ready":
        raise no_python(host)
    _send(to, frames.opening(PROGRAM, {"arguments": arguments}, collect(PROGRAM)))
    while (message := decoder.message()) is None:
        _receive(back, decoder)
    if "error" in message:
        raise failure(message["error"], host, PROGRAM, "")
    return decoder.rest()


def _send(to: IO[bytes], data: bytes) -> None:
    # Who does not listen may yet have said why: the reader meets the end of the line as well, and what came before.
    with contextlib.suppress(OSError):
        to.write(data)
        to.flush()


def _receive(back: IO[bytes], decoder: frames.Decoder) -> None:
    piece = os.read(back.fileno(), PIECE)
    if not piece:
        raise _EndedError(decoder.noise)
    try:
        decoder.feed(piece)
    except ValueError as error:
        raise _EndedError(decoder.noise[-1000:]) from error


def _explain(error: Exception, status: int, said: str, host: str, endpoint: Endpoint | None) -> ProvisionError:
    if isinstance(error, ProvisionError):
        return error
    noise = error.args[0].decode("utf-8", "replace")
    # 255 is ssh's own status: then it never came to a shell there.
    if endpoint is not None and status == 255 and not noise:
        return explain(OpenSSHError(status, said), endpoint)
    return ended_early(host, PROGRAM, status=status, noise=noise, tail=said)


def _carry(source: int, to: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        _move(source, to.fileno())
    # The node's rsync must see that ours has nothing more to say, while it may go on talking.
    with contextlib.suppress(OSError):
        to.close()


def _move(source: int, to: int) -> None:
    while piece := os.read(source, PIECE):
        _write_all(to, piece)


def _write_all(to: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(to, rest) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
