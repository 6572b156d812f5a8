"""Bytes to and from `/bin/sh` on a node: a local process, or a channel of an SSH connection."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Protocol

from provisioning.frames import SHELL

if TYPE_CHECKING:
    import fabric

__all__ = ["LocalWire", "SSHWire", "Tail", "Wire"]

PIECE = 1 << 16
GRACE_SECONDS = 7
"""A little more than the bootstrap on a node takes to end a program and its children."""


class Wire(Protocol):
    """What a conversation needs of a transport."""

    def read(self, timeout: float) -> bytes:
        """Wait for bytes; none at the end. Raises TimeoutError."""

    def write(self, data: bytes) -> None:
        """Write all bytes. Raises OSError at the end."""

    def close(self) -> None:
        """End the line, and with it the program."""

    def stderr(self) -> str:
        """Give the last lines of standard error."""

    def status(self) -> int | None:
        """Give the exit status; None when the connection was lost. Waits a moment for it."""


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
        self._closed = threading.Lock()

    def read(self, timeout: float) -> bytes:
        """Wait for bytes; none at the end. Raises TimeoutError."""
        try:
            if not select.select([self._out], [], [], timeout)[0]:
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
        with self._closed:
            if self._in.closed:
                return
            self._in.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._tail.text()
        self._out.close()
        self._err.close()

    def stderr(self) -> str:
        """Give the last lines of standard error."""
        return self._tail.text()

    def status(self) -> int | None:
        """Give the exit status. Waits a moment for it."""
        try:
            return self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return None


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process has no pipe")
    return pipe


class SSHWire:
    """`/bin/sh` over a channel of an open SSH connection.

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
