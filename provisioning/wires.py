"""Bytes to and from `/bin/sh` on a node: a local process, OpenSSH's client, or a channel of Fabric."""

from __future__ import annotations

import collections
import contextlib
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Protocol

from provisioning.frames import SHELL
from provisioning.ssh import openssh_argv
from provisioning.ssh_errors import OpenSSHError, explain

if TYPE_CHECKING:
    import fabric

    from provisioning.errors import ProvisionError
    from provisioning.ssh import Endpoint

__all__ = ["FabricWire", "LocalWire", "SSHWire", "Tail", "Wire", "retire"]

PIECE = 1 << 16
GRACE_SECONDS = 7
"""A little more than the bootstrap on a node takes to end a program and its children."""

LEAVE_SECONDS = 1
"""For a program on a node to end when its line does; later than that it ends by itself, and nobody waits for it."""

SSH_FAILED = 255
"""OpenSSH's own exit status."""


class Wire(Protocol):
    """What a conversation needs of a transport."""

    @property
    def closed(self) -> bool:
        """Whether the line was ended from this side."""

    def read(self, timeout: float) -> bytes:
        """Wait for bytes; none at the end. Raises TimeoutError."""

    def write(self, data: bytes) -> None:
        """Write all bytes. Raises OSError at the end."""

    def close(self) -> None:
        """End the line, and with it the program."""

    def release(self) -> None:
        """End the line to a program that has said its last: as `close`, but nobody has to wait for it."""

    def stderr(self) -> str:
        """Give the last lines of standard error."""

    def status(self) -> int | None:
        """Give the exit status; None when the connection was lost. Waits a moment for it."""

    def refusal(self) -> ProvisionError | None:
        """Say why nobody was let in; None when that is not how it ended."""


class Tail:
    """Keeps the end of what a program says on standard error, and drains the rest so that it never blocks.

    Parameters
    ----------
    read : callable
        Returns the next bytes, none at the end.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._pieces: collections.deque[bytes] = collections.deque(maxlen=64)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := self._read():
                self._pieces.append(piece[-PIECE:])

    def text(self, timeout: float = 1.0) -> str:
        """Give the last 20 lines, after waiting a moment for the end."""
        self._thread.join(timeout)
        text = b"".join(list(self._pieces)[-8:]).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-20:])


class LocalWire:
    """`/bin/sh` as a process of this machine.

    Parameters
    ----------
    command : sequence of str
        Another way to come to that shell.
    """

    grace = GRACE_SECONDS

    def __init__(self, command: Sequence[str] = (SHELL,)) -> None:
        # A session of its own: Ctrl-C is the driver's affair, and the node's side ends as a whole.
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        self._in, self._out = _open(self._process.stdin), _open(self._process.stdout)
        self._err = _open(self._process.stderr)
        self._tail = Tail(lambda: self._err.read(PIECE))
        self._closing = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether the line was ended from this side."""
        return self._in.closed

    def read(self, timeout: float) -> bytes:
        """Wait for bytes; none at the end. Raises TimeoutError."""
        try:
            if not _readable(self._out.fileno(), timeout):
                raise TimeoutError
            return self._out.read(PIECE)
        except ValueError:  # another thread has closed the line
            return b""

    def write(self, data: bytes) -> None:
        """Write all bytes. Raises OSError at the end."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._in.write(rest) :]
        except ValueError as error:
            raise BrokenPipeError("the line is closed") from error

    def close(self) -> None:
        """End the line, and with it the program."""
        with self._closing:
            if self._in.closed:
                return
            self._in.close()
        try:
            self._wait(self.grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._tail.text()
        self._out.close()
        self._err.close()

    def release(self) -> None:
        """End the line to a program that has said its last: as `close`, but nobody has to wait for it."""
        threading.Thread(target=self.close, daemon=True).start()

    def _wait(self, seconds: float) -> int:
        # Popen.wait with a time limit looks every 50 ms, which is longer than most programs here take to end.
        with contextlib.suppress(AttributeError, OSError):
            descriptor = os.pidfd_open(self._process.pid)
            try:
                if _readable(descriptor, seconds):
                    return self._process.wait()
            finally:
                os.close(descriptor)
            seconds = 0.0
        return self._process.wait(seconds)

    def stderr(self) -> str:
        """Give the last lines of standard error."""
        return self._tail.text()

    def status(self) -> int | None:
        """Give the exit status. Waits a moment for it."""
        try:
            return self._wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def refusal(self) -> ProvisionError | None:
        """Return None: this machine lets us in."""
        return None


class SSHWire(LocalWire):
    """`/bin/sh` by OpenSSH's client, over the one connection to the node that all share.

    Parameters
    ----------
    endpoint : Endpoint
    """

    grace = LEAVE_SECONDS

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        super().__init__([*openssh_argv(endpoint), SHELL])

    def status(self) -> int | None:
        """Give the exit status; None when the connection was lost. Waits a moment for it."""
        status = super().status()
        return None if status is None or status == SSH_FAILED or status < 0 else status

    def refusal(self) -> ProvisionError | None:
        """Say why nobody was let in; None when that is not how it ended."""
        status = super().status()
        if status != SSH_FAILED:
            return None
        return explain(OpenSSHError(status, self.stderr().strip() or _asked_again(self._endpoint)), self._endpoint)


def _asked_again(endpoint: Endpoint) -> str:
    """Ask for the reason by a login of its own: of algorithms that do not match, OpenSSH tells no level above this."""
    client, *arguments = openssh_argv(endpoint, share=False)
    try:
        again = subprocess.run(
            [client, "-o", "LogLevel=INFO", *arguments, SHELL],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=endpoint.connect_timeout + LEAVE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return again.stderr.decode("utf-8", "replace") if again.returncode == SSH_FAILED else ""


def retire(endpoint: Endpoint) -> None:
    """Let nobody else in by the connection that is kept: the next login is a new one. What runs over it goes on."""
    argv = openssh_argv(endpoint)
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [argv[0], "-O", "stop", *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=endpoint.connect_timeout,
        )


def _readable(descriptor: int, seconds: float) -> bool:
    # not select, which knows no descriptor beyond 1023: a few hundred nodes have more
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(math.ceil(1000 * seconds)))


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process has no pipe")
    return pipe


class FabricWire:
    """`/bin/sh` over a channel of an open connection of Fabric.

    Parameters
    ----------
    connection : fabric.Connection
    """

    def __init__(self, connection: fabric.Connection) -> None:
        self._transport = connection.transport
        self._channel = self._transport.open_session()
        # One time limit holds for reading and writing in all threads: so it is short and never changed.
        self._channel.settimeout(1.0)
        self._channel.exec_command(SHELL)
        self._tail = Tail(self._read_stderr)
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the line was ended from this side."""
        return self._closed

    def _read_stderr(self) -> bytes:
        while True:
            with contextlib.suppress(TimeoutError):
                piece: bytes = self._channel.recv_stderr(PIECE)
                return piece

    def read(self, timeout: float) -> bytes:
        """Wait for bytes; none at the end. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                piece: bytes = self._channel.recv(PIECE)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            else:
                return piece

    def write(self, data: bytes) -> None:
        """Write all bytes. Raises OSError at the end."""
        rest = memoryview(data)
        while rest:
            try:
                count = self._channel.send(rest[:PIECE].tobytes())
            except TimeoutError:
                continue
            if count == 0:
                raise BrokenPipeError("the channel is closed")
            rest = rest[count:]

    def close(self) -> None:
        """End the line, and with it the program."""
        if not self._closed:
            self._closed = True
            self._channel.close()

    def release(self) -> None:
        """End the line, which takes no time here."""
        self.close()

    def stderr(self) -> str:
        """Give the last lines of standard error."""
        return self._tail.text()

    def status(self) -> int | None:
        """Give the exit status; None when the connection was lost. Waits a moment for it."""
        deadline = time.monotonic() + 2
        while not self._channel.exit_status_ready() and self._transport.is_active() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not self._channel.exit_status_ready():
            return None
        status = int(self._channel.recv_exit_status())
        # paramiko says -1 where the server told no status, as when the connection breaks.
        return status if status >= 0 or self._transport.is_active() else None

    def refusal(self) -> ProvisionError | None:
        """Return None: who is not let in has no connection."""
        return None
