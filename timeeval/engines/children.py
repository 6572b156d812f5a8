"""The processes that a guard starts: their JSON lines in both directions, their log files, their ends.

Part of the guard's program: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timeeval.engines import sweeping

TAIL_BYTES = 4096


def tail(path: Path) -> str:
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


class Child:
    """One process of the run."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.popen = popen
        self.log = log
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.hearer: threading.Thread | None = None
        self.dead = False

    @property
    def has_workers(self) -> bool:
        """Whether experiments run below it; several such children are there while Dask is started anew."""
        return self.name.startswith("workers")

    def write(self) -> None:
        """Carry messages to the child until it is gone (a thread's work: the child may be slow to read)."""
        with contextlib.suppress(OSError, ValueError):
            while True:
                message = self.inbox.get()
                if message is None:
                    break
                self.popen.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
                self.popen.stdin.flush()  # type: ignore[union-attr]
        with contextlib.suppress(OSError):
            self.popen.stdin.close()  # type: ignore[union-attr]

    def lines(self) -> Iterator[Any]:
        """Yield what the child says; what is no JSON is a person's print and none of ours."""
        for line in self.popen.stdout:  # type: ignore[union-attr]
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def spawn(name: str, python: str, folder: Path, environment: dict[str, str]) -> Child:
    """Start a process of the run in a session of its own, its stderr in a private file of the run folder.

    Raises
    ------
    OSError
        If there is no such interpreter.
    """
    log = folder / f"{name}.log"
    values = {
        "PATH": sweeping.PATH,
        "HOME": str(Path.home()),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(folder),
        **environment,
        sweeping.RUN_MARK: folder.name,
    }
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        popen = sweeping.start(
            [python, "-s", "-P", "-m", "timeeval.engines.worker_main"],
            env=values,
            stderr=descriptor,
            cwd=folder,
            new_session=True,
        )
    finally:
        os.close(descriptor)
    return Child(name, popen, log)
