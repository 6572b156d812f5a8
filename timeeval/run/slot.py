"""The keeper of one experiment process: it hands over requests, watches limits from outside, and replaces it.

An experiment cannot hurt the process that keeps it: it has its own session, its own memory and file descriptors; time,
memory and the size of its log are watched here; what it leaves running is ended with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.run import processes
from timeeval.run.model import Outcome

if TYPE_CHECKING:
    from timeeval.run.nursery import Child, Nursery

_POLL = 0.1
_FIRST_POLL = 0.02
_KILL_SECONDS = 10.0
LOG_LIMIT = 256 * 1024**2
_LEAK = 1024**3
_LONGEST_ANSWER = 8 * 1024**2


@dataclass(slots=True)
class Ending:
    """How a request ended, as the keeper knows it; the fields are those of a `Report`."""

    outcome: Outcome
    error: str = ""
    traceback: str = ""
    hyper_params: str | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    abrupt: bool = False  # the process was killed or died: it cleaned up nothing


@dataclass(slots=True)
class _Watch:
    """What is being watched while one request runs."""

    log: Path
    cancelled: threading.Event
    waits: bool = False  # the process only waits for containers: its own memory says nothing
    phase: str = "load"
    deadline: float | None = None
    seconds: float | None = None
    memory: int | None = None
    values: dict[str, float | None] = field(default_factory=dict)
    peak: int = 0

    def begin(self, message: Mapping[str, Any], now: float) -> None:
        self.phase = message["phase"]
        self.values = message["values"]
        self.seconds = message.get("seconds")
        self.deadline = None if self.seconds is None else now + self.seconds
        memory = message.get("memory")
        self.memory = None if memory is None else int(memory)


class Slot:
    """One kept process; requests run in it one after the other.

    Parameters
    ----------
    nursery : Nursery
        Where the process comes from.
    """

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._process: Child | None = None
        self._connection: socket.socket | None = None
        self._baseline = 0

    def run(self, header: Mapping[str, Any], payload: bytes, log: Path, cancelled: threading.Event) -> Ending:
        """Run one request to its end, whatever that is; does not raise for what the experiment does.

        Parameters
        ----------
        header, payload
            What `timeeval.run.child` serves.
        log : Path
            File that gets what the experiment prints.
        cancelled : threading.Event
            When it is set, what runs is killed and the ending is ``CANCELLED``.
        """
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        watch = _Watch(log, cancelled, waits=bool(header.get("containers")))
        oom_kills = processes.oom_kills_lately()
        try:
            self._send(header, payload)
        except OSError:
            return self._crashed(watch, oom_kills)
        try:
            return self._watch(watch, oom_kills)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # something of the algorithm wrote there; whatever comes next on this connection belongs to nobody
            self.close()
            cause = f"AlgorithmError('it wrote to the connection of its process, which is not its own: {error!r}')"
            return self._stopped(watch, Outcome.ERROR, cause)

    def close(self) -> None:
        """End the process and everything below it; only while nothing runs."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None and process.poll() is None:
            processes.kill_tree(process.pid)
            process.wait(_KILL_SECONDS)

    # --- the process ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._nursery.start(theirs)
        self._connection = ours
        self._baseline = 0
        settings = {"path": sys.path, "environment": dict(os.environ), "directory": str(Path.cwd())}
        self._send({"kind": "settings", **settings}, b"")

    def _send(self, header: Mapping[str, Any], payload: bytes) -> None:
        assert self._connection is not None  # noqa: S101 - _start sets it
        text = json.dumps(dict(header)).encode()
        self._connection.sendall(struct.pack(">IQ", len(text), len(payload)) + text + payload)

    # --- one request ----------------------------------------------------------------------------------------------

    def _watch(self, watch: _Watch, oom_kills: int) -> Ending:
        assert self._connection is not None  # noqa: S101
        connection, buffer, poll = self._connection, b"", _FIRST_POLL
        while True:
            readable, _, _ = select.select([connection], [], [], poll)
            if readable:
                try:
                    chunk = connection.recv(1 << 18)
                except OSError:
                    chunk = b""
                if not chunk:
                    return self._crashed(watch, oom_kills)
                *lines, buffer = (buffer + chunk).split(b"\n")
                if len(buffer) > _LONGEST_ANSWER:
                    raise ValueError(f"{len(buffer)} bytes without an end")
                for line in lines:
                    message = json.loads(line)
                    if "outcome" in message:
                        return self._ended(message, watch)
                    watch.begin(message, time.monotonic())
                poll = _FIRST_POLL
                continue
            broken = self._broken_limit(watch)
            if broken is not None:
                self.close()
                return broken
            poll = min(2 * poll, _POLL)

    def _broken_limit(self, watch: _Watch) -> Ending | None:
        assert self._process is not None  # noqa: S101
        if watch.cancelled.is_set():
            return self._stopped(watch, Outcome.CANCELLED, "cancelled")
        if watch.deadline is not None and time.monotonic() > watch.deadline:
            return self._stopped(
                watch,
                Outcome.TIMEOUT,
                f"AlgorithmTimeoutError('the {watch.phase} phase did not end within {watch.seconds:g} seconds')",
            )
        used = 0 if watch.waits else processes.resident_memory(self._process.pid)
        watch.peak = max(watch.peak, used)
        if watch.memory is not None and used > watch.memory:
            return self._stopped(
                watch,
                Outcome.OOM,
                f"AlgorithmMemoryError('the {watch.phase} phase used {used} bytes, its limit is {watch.memory}')",
            )
        with contextlib.suppress(OSError):
            size = watch.log.stat().st_size
            if size > LOG_LIMIT:
                return self._stopped(
                    watch,
                    Outcome.ERROR,
                    f"AlgorithmError('it printed {size} bytes, the log may have {LOG_LIMIT}')",
                )
        return None

    @staticmethod
    def _stopped(watch: _Watch, outcome: Outcome, error: str) -> Ending:
        return Ending(outcome, error, values=watch.values, peak_memory=watch.peak or None, abrupt=True)

    def _ended(self, message: Mapping[str, Any], watch: _Watch) -> Ending:
        assert self._process is not None  # noqa: S101
        peak = message["peak_memory"]
        ending = Ending(
            Outcome(message["outcome"]),
            message["error"],
            message["traceback"],
            message.get("hyper_params"),
            message["values"],
            message["cpu_seconds"],
            max(peak, watch.peak) if peak is not None else watch.peak or None,
        )
        resident = processes.resident_memory(self._process.pid, ())
        self._baseline = self._baseline or resident
        if message["tired"] or resident > self._baseline + _LEAK:
            self.close()
        return ending

    def _crashed(self, watch: _Watch, oom_kills: int) -> Ending:
        assert self._process is not None  # noqa: S101
        code = self._process.wait(2)  # None: alive, but its end of the connection is closed
        self.close()
        processes.forget_lately()  # what killed this one is not to be taken for the death of the next
        if watch.cancelled.is_set():
            return self._stopped(watch, Outcome.CANCELLED, "cancelled")
        if code == -signal.SIGKILL:
            if processes.oom_kills() > oom_kills:
                return self._stopped(
                    watch, Outcome.OOM, "AlgorithmMemoryError('the kernel killed the process for want of memory')"
                )
            return self._stopped(
                watch, Outcome.INFRA, "the experiment's process was killed from outside (SIGKILL, no want of memory)"
            )
        if code is None:
            cause = "closed the connection of its process"
        elif code < 0:
            cause = f"died of signal {-code} ({signal.strsignal(-code)})"
        else:
            cause = f"ended its process with exit status {code}"
        if watch.phase == "load":  # nothing of the algorithm ran yet
            return self._stopped(watch, Outcome.INFRA, f"the experiment's process {cause}; see {watch.log.name}")
        return self._stopped(watch, Outcome.ERROR, f"AlgorithmError('the {watch.phase} phase {cause}')")
