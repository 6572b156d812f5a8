"""The process from which experiment processes are forked.

It has imported what they need, runs no experiment and has no threads of its own. A fork of it is ready in
milliseconds, where a new interpreter needs seconds for its imports. What an experiment leaves behind when its process
dies becomes a child of this one and is killed here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
from typing import Any, NoReturn

from timeeval.run import child, processes

_PRELOAD = (
    "timeeval.experiment",
    "timeeval.run.packing",
    "timeeval.algorithm",
    "timeeval.adapters.function",
    "timeeval.datasets.dataset",
    "timeeval.heuristics",
    "timeeval.metrics",
    "timeeval.utils.datasets",
)


def main(connection: socket.socket, parent: int) -> None:
    """Fork a process for each message with a descriptor on it; end with the process `parent` or the connection."""
    child.bind_to(parent)
    for module in _PRELOAD:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every shared page in each fork
    wake, alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    known: set[int] = set()
    _tell(connection, ready=os.getpid())
    while True:
        sources: list[Any] = [connection, wake]
        readable = select.select(sources, [], [])[0]
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        if connection in readable:
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
            if not descriptors:
                _end(known)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                _become_child(connection, (wake, alarm), descriptors[0])
            os.close(descriptors[0])
            known.add(pid)
            _tell(connection, started=pid)
        _reap(connection, known)


def _become_child(connection: socket.socket, pipe: tuple[int, int], descriptor: int) -> NoReturn:
    zygote = os.getppid()
    try:
        connection.close()
        for end in pipe:
            os.close(end)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        child.main(descriptor, zygote)
    finally:
        os._exit(0)


def _reap(connection: socket.socket, known: set[int]) -> None:
    """Tell of ended experiment processes, and kill what they left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            break
        if pid in known:
            known.discard(pid)
            _tell(connection, ended=pid, code=os.waitstatus_to_exitcode(status))
    for stray in processes.children(os.getpid()):
        if stray not in known:
            processes.kill_tree(stray)


def _end(known: set[int]) -> NoReturn:
    for pid in (*known, *processes.children(os.getpid())):
        processes.kill_tree(pid)
    while known or processes.children(os.getpid()):
        try:
            known.discard(os.wait()[0])
        except ChildProcessError:
            break
    os._exit(0)


def _tell(connection: socket.socket, **message: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the keeper is gone: the next read says so
        connection.send(json.dumps(message).encode())
