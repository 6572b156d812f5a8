"""Run one command of a person on this node: an argument list, no input, bounded output, an end when it falls silent."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Deque, Dict, List

from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

PIECE = 1 << 16
LINGER_SECONDS = 1.0
"""For so long is listened to what a command that has ended left running."""


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"argv", "silence": seconds, "most": bytes}``: ``{"status", "output", "cut", "silent"}``.

    Both outputs are one, in the order in which they were written. Of more than `most` bytes the begin and the end are
    kept, ``cut`` counts the others. A status below 0 is the signal that ended the command.
    """
    argv = args["argv"]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=os.setpgrp,  # noqa: PLW1509 - nothing else runs in this process that a fork could catch midway
        )
    except OSError as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else error.strerror
        raise RefusedError("%s %s" % (argv[0], why), "name a program that all nodes have, best by its path") from error
    kept = _Bounded(args["most"])
    try:
        silent = _listen(process, kept, args["silence"], channel)
        if not silent:
            # what it left behind in the background goes on, as it would after a login
            return {"status": process.wait(), "output": kept.text(), "cut": kept.cut, "silent": False}
    except BaseException:
        _end(process)
        raise
    _end(process)
    return {"status": process.wait(), "output": kept.text(), "cut": kept.cut, "silent": True}


def _listen(process: subprocess.Popen[bytes], kept: _Bounded, silence: float, channel: Channel) -> bool:
    """Take its output until it has ended; say whether it fell silent for too long."""
    if process.stdout is None:
        raise RuntimeError("the process has no pipe")
    source = process.stdout.fileno()
    heard = told = time.monotonic()
    while True:
        ended = process.poll() is not None
        if select.select([source], [], [], LINGER_SECONDS if ended else min(LINGER_SECONDS, silence))[0]:
            piece = os.read(source, PIECE)
            if not piece:
                return _outlives(process, heard + silence)
            kept.take(piece)
            heard = time.monotonic()
        elif ended:
            return False
        elif time.monotonic() - heard > silence:
            return True
        if time.monotonic() - told > LINGER_SECONDS:
            told = time.monotonic()
            channel.event({"title": "run", "done": kept.seen, "total": 0})


def _outlives(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for a command that has closed its output; say whether it took too long."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Bounded:
    """Begin and end of a stream of bytes."""

    def __init__(self, most: int) -> None:
        self.seen = 0
        self._half = most // 2
        self._head = b""
        self._tail: Deque[bytes] = collections.deque()
        self._size = 0

    def take(self, piece: bytes) -> None:
        self.seen += len(piece)
        room = self._half - len(self._head)
        self._head += piece[:room]
        rest = piece[room:]
        if rest:
            self._tail.append(rest)
            self._size += len(rest)
        while self._tail and self._size - len(self._tail[0]) >= self._half:
            self._size -= len(self._tail.popleft())

    @property
    def cut(self) -> int:
        return self.seen - len(self._head) - min(self._size, self._half)

    def text(self) -> str:
        tail = b"".join(self._tail)[-self._half :]
        parts: List[bytes] = [self._head, b"\n[...]\n" if self.cut else b"", tail]
        return b"".join(parts).decode("utf-8", "replace")
