"""The keeper's side of the zygote: experiment processes on demand, and how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from timeeval.errors import InfrastructureError

_START = (
    "import json, socket, sys; connection = socket.socket(fileno=int(sys.argv[1])); "
    "sys.path[:] = json.loads(connection.recv(1 << 20)); "
    "from timeeval.run.zygote import main; main(connection, int(sys.argv[2]))"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_START_SECONDS = 120.0


class Child:
    """A process that the zygote forked.

    Attributes
    ----------
    pid : int
        Its process id; another process' once `poll` returns a number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code (negative: the signal it died of), None while it runs."""
        return self._code

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; return its exit code, None if it still runs."""
        self._ended.wait(seconds)
        return self._code

    def end(self, code: int) -> None:
        """Note how it ended."""
        self._code = code
        self._ended.set()


class Nursery:
    """Starts a zygote when the first process is asked for, and a new one when it died.

    Parameters
    ----------
    threads : int, optional
        Value of the thread variables (``OMP_NUM_THREADS`` and the like) that the environment does not set.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._children: dict[int, Child] = {}
        self._answers: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def start(self, connection: socket.socket) -> Child:
        """Fork a process that serves requests on a connection.

        Raises
        ------
        InfrastructureError
            If no zygote comes up.
        """
        with self._lock:
            for _ in range(2):  # a zygote that was killed in between is replaced once
                if self._zygote is None or self._zygote.poll() is not None:
                    self._raise_zygote()
                assert self._connection is not None  # noqa: S101 - _raise_zygote sets it
                with contextlib.suppress(OSError):
                    socket.send_fds(self._connection, [b"+"], [connection.fileno()])
                    child = self._answers.get()
                    if child is not None:
                        return child
                self._lower_zygote()
        raise InfrastructureError("the process that experiments are forked from was killed twice")

    def close(self) -> None:
        """End the zygote and everything below it."""
        with self._lock:
            self._lower_zygote()

    def _raise_zygote(self) -> None:
        self._lower_zygote()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threads = {} if self._threads is None else dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        with theirs, tempfile.TemporaryFile() as stderr:
            zygote = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C on the terminal is the driver's business
                env={**threads, **os.environ},
            )
            theirs.close()
            ours.settimeout(_START_SECONDS)
            try:
                ours.send(json.dumps(sys.path).encode())
                ready = ours.recv(4096)
            except OSError:
                ready = b""
            if not ready:
                zygote.kill()
                zygote.wait()
                ours.close()
                stderr.seek(0)
                said = stderr.read()[-2000:].decode(errors="replace").strip()
                raise InfrastructureError(f"no process for experiments could be started: {said or 'no answer'}")
        ours.settimeout(None)
        self._zygote, self._connection = zygote, ours
        self._answers = queue.SimpleQueue()
        self._children = {}
        self._reader = threading.Thread(
            target=_read, args=(ours, self._children, self._answers), name="timeeval-nursery", daemon=True
        )
        self._reader.start()

    def _lower_zygote(self) -> None:
        zygote, connection, reader = self._zygote, self._connection, self._reader
        self._zygote = self._connection = self._reader = None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if zygote is not None:
            try:
                zygote.wait(5)
            except subprocess.TimeoutExpired:
                zygote.kill()
                zygote.wait()
        if reader is not None:
            reader.join()
        if connection is not None:
            connection.close()


def _read(connection: socket.socket, children: dict[int, Child], answers: queue.SimpleQueue[Child | None]) -> None:
    """Take in what a zygote says, until it is gone."""
    while True:
        try:
            text = connection.recv(4096)
        except OSError:
            text = b""
        if not text:
            break
        message = json.loads(text)
        if "started" in message:
            child = children[message["started"]] = Child(message["started"])
            answers.put(child)
        elif "ended" in message:
            children.pop(message["ended"]).end(message["code"])
    for child in children.values():
        child.end(-signal.SIGKILL)  # they are bound to the zygote
    answers.put(None)
