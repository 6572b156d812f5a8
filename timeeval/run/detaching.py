"""A driver without a terminal: it goes on after logout, and its parent waits only until it is up.

The parent gets one line of JSON through a pipe: that the run is up and where its results are, or how it ended before.
What the driver prints goes to a private file, in the results folder as soon as there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG = "driver.log"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the start.

    Attributes
    ----------
    results : Path or None
        Results folder of a run that is up; None where the driver ended before.
    exit_code : int
        How it ended then.
    said : str
        What it had printed then.
    pid : int
        The driver.
    """

    results: Path | None
    exit_code: int = 0
    said: str = ""
    pid: int = 0


class Detached:
    """The driver's side of the pipe to the process that started it."""

    def __init__(self, pipe: int, log: Path) -> None:
        self._pipe = pipe
        self._log = log
        self._settled = False

    def settle(self, results: Path) -> None:
        """Keep what is printed in a results folder from now on, what was printed before included."""
        if self._settled:
            return
        self._settled = True
        sys.stdout.flush()
        sys.stderr.flush()
        target = os.open(results / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with self._log.open("rb") as before, os.fdopen(os.dup(target), "ab") as file:
            shutil.copyfileobj(before, file)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
        self._log.unlink()

    def up(self, results: Path) -> None:
        """Tell the parent that the run is up."""
        self._tell({"results": str(results), "pid": os.getpid()})

    def ended(self, exit_code: int) -> None:
        """Tell the parent, if it still waits, that the driver ends before its run was up."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self._pipe >= 0:
            log = Path("/proc/self/fd/1") if self._settled else self._log
            said = log.read_text(encoding="utf-8", errors="replace")
            self._tell({"exit_code": exit_code, "said": said, "pid": os.getpid()})
        if not self._settled:
            self._log.unlink(missing_ok=True)

    def _tell(self, message: dict[str, Any]) -> None:
        if self._pipe < 0:
            return
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._pipe, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(message) + "\n")  # nobody may wait for it any more
        self._pipe = -1


def detach() -> Detached | Answer:
    """Fork a driver that belongs to no terminal.

    Returns
    -------
    Detached
        In the driver: the rest of the program is its own.
    Answer
        In the process that was called, once the run is up or has ended.
    """
    descriptor, name = tempfile.mkstemp(prefix="timeeval-driver-", suffix=".log")
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writing)
        os.close(descriptor)
        os.waitpid(child, 0)
        return _wait(reading, Path(name))
    os.setsid()
    if os.fork():
        os._exit(0)  # the leader of a session could get a terminal again
    os.close(reading)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(nothing)
    os.close(descriptor)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` had it ignored
    return Detached(writing, Path(name))


def _wait(reading: int, log: Path) -> Answer:
    with os.fdopen(reading, encoding="utf-8") as pipe:
        line = pipe.readline()
    if not line:
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        log.unlink(missing_ok=True)
        return Answer(None, 1, f"{said}the driver was killed before its run was up\n")
    message = json.loads(line)
    results = message.get("results")
    return Answer(
        Path(results) if results else None, message.get("exit_code", 0), message.get("said", ""), message["pid"]
    )
