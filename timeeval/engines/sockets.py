"""Doors on a node: sockets in the run folder, JSON lines over them, this user's processes alone.

Part of the guard's program: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import struct
import threading
from pathlib import Path
from typing import Any

DOOR = "guard.sock"
PIECE = 1 << 16
BACKLOG = 8


def _short(folder: Path, name: str, descriptor: int) -> str:
    # A socket's path may have 107 bytes; a state folder's may have more.
    return f"/proc/self/fd/{descriptor}/{name}" if len(os.fsencode(str(folder / name))) > 100 else str(folder / name)


def listen(folder: Path, name: str = DOOR) -> socket.socket:
    """Open a door of a run folder, the guard's if no other is named; its permissions are the folder's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.bind(_short(folder, name, descriptor))
        door.listen(BACKLOG)
    except OSError:
        door.close()
        raise
    finally:
        os.close(descriptor)
    return door


def connect(folder: Path, name: str = DOOR) -> socket.socket:
    """Knock at a door of a run folder; raises OSError when nobody of this user's is behind it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(_short(folder, name, descriptor))
        if not is_own(line):
            raise PermissionError(f"another user's process stands at {folder / name}")
    except OSError:
        line.close()
        raise
    finally:
        os.close(descriptor)
    return line


def is_own(line: socket.socket) -> bool:
    """Return whether a process of this user is at the other end."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(uid == os.getuid())


class Lines:
    """JSON lines over a connected socket; each side writes from a thread of its own, so that nobody waits for it."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._rest = bytearray()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None at the end."""
        while True:
            end = self._rest.find(b"\n")
            if end >= 0:
                message: dict[str, Any] = json.loads(bytes(self._rest[:end]))
                del self._rest[: end + 1]
                return message
            try:
                piece = self._line.recv(PIECE)
            except OSError:
                return None
            if not piece:
                return None
            self._rest += piece

    def send(self, message: dict[str, Any]) -> None:
        """Send a message and wait until it is on its way; raises OSError at the end of the line."""
        self._line.sendall(json.dumps(message).encode("ascii") + b"\n")

    def post(self, message: dict[str, Any] | None) -> None:
        """Send a message without waiting; None ends the line after all that was posted before."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, daemon=True)
            self._writer.start()
        self._outbox.put(message)

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                message = self._outbox.get()
                if message is None:
                    break
                self.send(message)
        self.close()

    def flushed(self, seconds: float) -> bool:
        """Wait until all was sent that was posted before None."""
        if self._writer is not None:
            self._writer.join(seconds)
        return self._writer is None or not self._writer.is_alive()

    def close(self) -> None:
        """Hang up; whoever waits at either end sees it."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
