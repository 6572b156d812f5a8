"""The porter of a node: takes its workers' reports to the driver, and brings them what their jobs have in common.

It sits in the process of the nannies, behind a door in the run folder. So a report travels over its own host's line,
and needs neither Dask nor the host of its scheduler; and what many jobs share comes to a node once, when it is asked
for the first time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from timeeval.engines import sockets

FOLDER, DOOR = "TIMEEVAL_PORTER_FOLDER", "TIMEEVAL_PORTER_DOOR"
"""Variables by which a worker finds its porter."""
LINE_LIMIT = 1 << 30
RETIRE_SECONDS = 1.0


def part_file(folder: Path, digest: str) -> Path:
    """Return where a part lies in a run folder; only a SHA-256 in hex is a name of one."""
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} names no part")
    return folder / "parts" / digest


def retired_file(folder: Path, door: str) -> Path:
    """Return the file whose being there tells workers behind a door to begin nothing more."""
    return folder / f"{door}.retired"


class Porter:
    """Behind the door of a node.

    Parameters
    ----------
    folder : Path
        The run folder, which only this user may enter.
    name : str
        What tells this porter's door from another's in the same folder.
    say : callable
        Sends a message to the driver.
    """

    def __init__(self, folder: Path, name: str, say: Callable[..., None]) -> None:
        self._folder = folder
        self._door = f"{name}.sock"
        self._say = say
        self._asked: set[str] = set()
        self._begun: dict[asyncio.StreamReader, str] = {}  # the parcel of each worker
        self._retired = False
        self._server: asyncio.Server | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What workers are told of it."""
        return {FOLDER: str(self._folder), DOOR: self._door}

    async def open(self) -> None:
        """Open the door; it closes with the process."""
        (self._folder / "parts").mkdir(exist_ok=True)
        door = sockets.listen(self._folder, self._door)
        self._server = await asyncio.start_unix_server(self._serve, sock=door, limit=LINE_LIMIT)

    async def obey(self, message: Mapping[str, str]) -> None:
        """Do what the driver wants."""
        if "part" in message:
            self._put_down(message["part"], base64.b64decode(message["data"]))
        else:
            await self._retire()

    async def _retire(self) -> None:
        """Let workers begin nothing more, and say what they have begun: another Dask takes the place of theirs."""
        retired_file(self._folder, self._door).touch()
        await asyncio.sleep(RETIRE_SECONDS)  # for what a worker said before it could see that
        self._retired = True
        self._say(event="retired", begun=sorted(self._begun.values()))

    def _put_down(self, part: str, content: bytes) -> None:
        """Take a part; one that is not what it is called will be asked for again."""
        self._asked.discard(part)
        if hashlib.sha256(content).hexdigest() != part:
            return
        path = part_file(self._folder, part)
        partial = path.with_name(f"{part}.{os.getpid()}.part")
        partial.write_bytes(content)
        partial.replace(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):  # else its worker died over it
                    self._take(reader, json.loads(line))
        finally:
            self._begun.pop(reader, None)
            writer.close()

    def _take(self, reader: asyncio.StreamReader, message: Mapping[str, str]) -> None:
        match message:
            case {"report": attempt, "text": text}:
                self._say(event="report", attempt=attempt, text=text)
            case {"begun": key}:
                self._begun[reader] = key
            case {"refused": key}:
                del self._begun[reader]
                if self._retired:
                    self._say(event="refused", key=key)
            case {"want": part} if "again" in message or part not in self._asked:  # several may need it at once
                self._asked.add(part)
                self._say(event="want", part=part)
