"""On a node that drives a run: take in what the driver needs, run its commands, say what it left, take it away again.

A program of the launcher (standard library only, Python 3.8 or newer). Everything lies in one folder of mode 0700; the
run's own results folders are in its ``results``, and no start of a driver touches what is in there.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from provisioning.node import tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

RESULTS = "results"
WORK = "work"
PRIVATE = ".timeeval"
BEAT_SECONDS = 10.0
NEWS = 500
"""Experiments that are told at a time."""
LONGEST = 4096
"""Letters of a line that are looked at to the end; a longer one is passed on in pieces."""


class LodgeError(Exception):
    """The folder cannot be used as it is asked for."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Obey ``{"do": "settle" | "run" | "news" | "list" | "remove", "folder", ...}``."""
    os.umask(0o077)
    folder = Path(args["folder"])
    if args["do"] == "settle":
        return settle(folder, args["python"], args["links"], channel)
    if args["do"] == "run":
        return run(args["argv"], folder / args["below"], channel)
    if args["do"] == "news":
        return news(folder, args["seen"])
    if args["do"] == "list":
        return {"runs": listed(folder)}
    if args["do"] == "remove":
        remove(folder)
        return {}
    raise ValueError(f"nobody here can {args['do']}")


def settle(folder: Path, python: str, links: dict[str, str], channel: Channel) -> dict[str, Any]:
    """Take in an archive of files; what an earlier start brought is replaced, its results stay.

    ``links`` are folders of datasets: path below the working folder -> where they lie on this machine.
    """
    command = Path(python).with_name("timeeval-run")
    for program in (Path(python), command):
        if not os.access(str(program), os.X_OK):
            raise LodgeError(
                f"it has no {program}",
                "timeeval-provision create-envs brings it; the environment must hold timeeval-cluster itself",
            )
    _own(folder.parent)
    _own(folder)
    results = folder / RESULTS
    _refuse_driven(results)
    for entry in list(folder.iterdir()):
        if entry != results:
            _away(entry)
    results.mkdir(exist_ok=True)
    (folder / WORK).mkdir()
    size = _unpack(folder, channel)
    for path, target in links.items():
        link = folder / WORK / tree.safe_path(path)
        if not os.path.lexists(str(link)) and Path(target).is_dir():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    return {"bytes": size, "command": str(command)}


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise LodgeError(f"{folder} is not a folder of this user", "set state in the cluster file to one of yours")
    folder.chmod(0o700)


def _driver(results: Path) -> int | None:
    """Return the process that drives a run of this folder right now."""
    for file in sorted(results.glob("*/driver.json")):
        driver = json.loads(file.read_text(encoding="utf-8"))
        if driver["exit_code"] is None and driver["boot"] == _boot() and _started(driver["pid"]) == driver["started"]:
            return int(driver["pid"])
    return None


def _refuse_driven(results: Path) -> None:
    """Refuse a folder whose run goes on."""
    pid = _driver(results)
    if pid is not None:
        raise LodgeError(
            f"the run of this folder goes on here (process {pid})",
            "timeeval-results watch follows it, timeeval-results stop ends it",
        )


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the boot; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _away(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(str(entry))
    else:
        entry.unlink()


class _Pieces:
    """The driver's data as a file that is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _unpack(folder: Path, channel: Channel) -> int:
    """Write the files of an archive; nothing but plain files with plain names is taken."""
    size = 0
    source = _Pieces(channel.data())
    with tarfile.open(fileobj=source, mode="r|gz") as archive:  # type: ignore[call-overload]
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise ValueError(f"{member.name!r} is no file")
            path = folder / tree.safe_path(member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
            size += member.size
            channel.event({"title": "take in", "done": size, "total": size, "unit": "B"})
    while source.read(1 << 16):  # what the archive's end was padded with
        pass
    return size


def run(argv: list[str], folder: Path, channel: Channel) -> dict[str, Any]:
    """Run a command there and pass on what it says, in pieces of whole lines; return its exit status."""
    process = subprocess.Popen(
        argv, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said: queue.Queue[tuple[str, str] | None] = queue.Queue(64)
    streams = [(name, stream) for name, stream in (("out", process.stdout), ("err", process.stderr)) if stream]
    for name, stream in streams:
        threading.Thread(target=_listen, args=(name, stream, said), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        try:
            spoken = said.get(timeout=BEAT_SECONDS)
        except queue.Empty:
            channel.event({"alive": True})  # who follows a run for hours must tell silence from death
            continue
        if spoken is None:
            open_streams -= 1
        else:
            channel.event({spoken[0]: spoken[1]})
    return {"status": process.wait()}


def _listen(name: str, stream: IO[bytes], said: queue.Queue[tuple[str, str] | None]) -> None:
    while True:
        line = stream.readline(LONGEST)
        if not line:
            break
        said.put((name, line.decode("utf-8", "replace")))
    said.put(None)


def news(folder: Path, seen: dict[str, int]) -> dict[str, Any]:
    """Return who drives here, and the folders of experiments whose files have been collected since the last time.

    ``seen`` tells how far each run's list of them was read; the answer says how far it is read now.
    """
    results = _results(folder)
    driver = _driver(results)  # asked first: when it has ended, the lists are whole
    runs = {}
    for run in sorted(results.iterdir()):
        if run.is_dir() and not run.is_symlink():
            attempts, read = _collected(run / PRIVATE / "collected.jsonl", seen.get(run.name, 0))
            runs[run.name] = {"read": read, "folders": _folders(run / "journal.sqlite", attempts)}
    return {"driver": driver, "runs": runs}


def _collected(file: Path, start: int) -> tuple[list[str], int]:
    """Return attempts that a list names from some byte on, and where the next look begins."""
    attempts: list[str] = []
    try:
        with file.open("rb") as lines:
            lines.seek(start)
            for line in lines:
                if len(attempts) == NEWS or not line.endswith(b"\n"):
                    break
                start += len(line)
                with contextlib.suppress(ValueError, KeyError):  # torn by a crash: it comes when the run has ended
                    attempts.append(str(json.loads(line)["attempt"]))
    except FileNotFoundError:
        return [], 0
    return attempts, start


def _folders(journal: Path, attempts: list[str]) -> list[str]:
    if not attempts:
        return []
    marks = ", ".join("?" * len(attempts))
    query = (
        "SELECT DISTINCT algorithm, hyper_params_id, collection, dataset, repetition FROM attempt"  # noqa: S608 - marks
        f" JOIN execution ON execution.key = attempt.execution WHERE attempt.id IN ({marks})"
    )
    with contextlib.closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return [Path(*map(str, row)).as_posix() for row in connection.execute(query, attempts)]


def _results(folder: Path) -> Path:
    results = folder / RESULTS
    if not results.is_dir():
        raise LodgeError(
            f"there is no {results} any more", "what was fetched of this run is all there is; run it again"
        )
    return results


def listed(folder: Path) -> dict[str, list[str]]:
    """Return what lies in each results folder and in the private one inside; raises where its run goes on."""
    results = _results(folder)
    _refuse_driven(results)
    return {
        run.name: sorted(
            entry.relative_to(run).as_posix()
            for folder in (run, run / PRIVATE)
            if folder.is_dir()
            for entry in folder.iterdir()
            if entry != run / PRIVATE
        )
        for run in sorted(results.iterdir())
        if run.is_dir() and not run.is_symlink()
    }


def remove(folder: Path) -> None:
    """Take away what `settle` made, results included, and the folder above when it is empty."""
    _refuse_driven(folder / RESULTS)
    if folder.is_dir() and folder.lstat().st_uid == os.getuid():
        shutil.rmtree(str(folder))
    with contextlib.suppress(OSError):  # another run is driven here as well
        folder.parent.rmdir()
