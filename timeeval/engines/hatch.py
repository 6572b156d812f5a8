"""A worker's side: what Dask brings is computed here, and what comes of it goes to the porter of this node."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timeeval.engines import sockets
from timeeval.engines.porter import DOOR, FOLDER, part_file, retired_file
from timeeval.errors import InfrastructureError

PART_SECONDS = 120.0
ASK_SECONDS = 10.0
_POLL = 0.01


class Hatch:
    """Where a worker hands over its reports and asks for what it lacks; safe to be used by several threads.

    Parameters
    ----------
    folder : Path
        The run folder.
    door : str
        Name of the porter's door in it.
    """

    def __init__(self, folder: Path, door: str) -> None:
        self._folder = folder
        self._door = door
        self._parts: dict[str, bytes] = {}
        self._line: socket.socket | None = None
        self._saying = threading.Lock()

    def begin(self, key: str) -> None:
        """Say that a parcel begins.

        Raises
        ------
        InfrastructureError
            If nothing may begin here any more, because another Dask has taken the place of this worker's.
        """
        self._say(begun=key)
        if retired_file(self._folder, self._door).exists():
            self._say(refused=key)
            raise InfrastructureError("another Dask has taken the place of this worker's; nothing begins here any more")

    def report(self, attempt: str, text: str) -> None:
        """Hand over a report; raises OSError when the porter is gone, and all of this node with it."""
        self._say(report=attempt, text=text)

    def part(self, digest: str) -> bytes:
        """Return what many jobs have in common, by its SHA-256; asks the driver for it when it is not on this node.

        Raises
        ------
        InfrastructureError
            If it does not come.
        """
        known = self._parts.get(digest)
        if known is None:
            known = self._parts[digest] = self._read(digest) or self._await(digest)
        return known

    def _read(self, digest: str) -> bytes | None:
        try:
            content = part_file(self._folder, digest).read_bytes()
        except FileNotFoundError:
            return None
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _await(self, digest: str) -> bytes:
        begun = asked = time.monotonic()
        self._say(want=digest)
        while (content := self._read(digest)) is None:
            now = time.monotonic()
            if now - begun > PART_SECONDS:
                raise InfrastructureError(
                    f"what experiments have in common (part {digest[:12]}) did not come within {PART_SECONDS:g} s",
                    remedy="Run it again with --resume; if it stays so, report it",
                )
            if now - asked > ASK_SECONDS:
                asked = now
                self._say(want=digest, again="yes")
            time.sleep(_POLL)
        return content

    def _say(self, **message: object) -> None:
        data = json.dumps(message).encode("ascii") + b"\n"
        with self._saying:
            if self._line is None:
                self._line = sockets.connect(self._folder, self._door)
            self._line.sendall(data)


_hatch: Hatch | None = None


def _own() -> Hatch:
    global _hatch  # noqa: PLW0603 - one for each worker process
    if _hatch is None:
        _hatch = Hatch(Path(os.environ[FOLDER]), os.environ[DOOR])
    return _hatch


class Turn:
    """One attempt's turn to compute, which it may end before it has ended itself."""

    def __init__(self, hatch: Hatch) -> None:
        self.part: Callable[[str], bytes] = hatch.part
        self._ended = threading.Event()
        self.end: Callable[[], None] = self._ended.set
        """Let the next one compute."""
        self.wait_for_end: Callable[[], object] = self._ended.wait


def carry(task: str, jobs: list[bytes], attempts: list[str]) -> str:
    """Run ``module:function`` for each job of a parcel, one after the other; each report goes to the porter.

    While the outcome of one is on its way to the disk, the next one may compute already.
    """
    module, _, name = task.partition(":")
    function = getattr(importlib.import_module(module), name)
    details: list[dict[str, Any]] = [json.loads(text) for text in attempts]
    hatch = _own()
    hatch.begin(details[0]["id"])
    turns = [Turn(hatch) for _ in jobs]

    def one(number: int) -> None:
        attempt, turn = details[number], turns[number]
        if number:
            turns[number - 1].wait_for_end()
        try:
            text = function(jobs[number], attempt, turn=turn)
        finally:
            turn.end()
        if type(text) is not str:
            raise TypeError(f"{task} returned {type(text).__name__}, not str")
        hatch.report(attempt["id"], text)

    if len(jobs) == 1:
        one(0)
        return ""
    threads = ThreadPoolExecutor(2, thread_name_prefix="timeeval-bundle")
    try:
        for ended in [threads.submit(one, number) for number in range(len(jobs))]:
            ended.result()
    finally:
        threads.shutdown(cancel_futures=True)
    return ""
