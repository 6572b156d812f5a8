"""The log of one command: all of it in one file, what concerns a host in a file of the host's name, and the outcome."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from provisioning.masking import command_line, mask

if TYPE_CHECKING:
    from provisioning.inventory import Cluster

SCHEMA = "timeeval.log/1"
RUNS = 40
"""So many commands are remembered."""

LARGEST = 4 << 20
"""Bytes of one file."""

COMMAND, OUTCOME = "command.log", "outcome.jsonl"

log = logging.getLogger(__name__)


def folder(cluster: Cluster) -> Path:
    """Return where the logs of a cluster are, on the driver."""
    return cluster.file.parent / ".timeeval" / cluster.name / "logs"


def runs(cluster: Cluster) -> list[Path]:
    """Return the folders of the last commands, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(path for path in folder(cluster).iterdir() if path.is_dir() and re.match(r"\d{8}T", path.name))
    return []


def outcomes(run: Path) -> list[dict[str, Any]]:
    """Return what a command had to say in the end: a document per node, and one of the command itself, the last."""
    with contextlib.suppress(OSError, ValueError):
        return [json.loads(line) for line in (run / OUTCOME).read_text(encoding="utf-8").splitlines()]
    return []


class RunLog:
    """Keeps what a command does, secrets masked, readable by its user alone.

    Parameters
    ----------
    cluster : Cluster
    verb : str
        The command's name.
    hosts : sequence of str
        Nodes that it looks at.

    Attributes
    ----------
    folder : Path or None
        Where the files are, while and after the log is kept; None where it cannot be.
    """

    def __init__(self, cluster: Cluster, verb: str, hosts: Sequence[str]) -> None:
        self.folder: Path | None = None
        self._cluster = cluster
        self._verb = verb
        self._hosts = hosts
        self._began = time.time()
        self._handler: _Handler | None = None
        self._documents: list[str] = []
        self._code: int | None = None
        self._level = logging.NOTSET

    def __enter__(self) -> Self:
        stamp = datetime.fromtimestamp(self._began, UTC).strftime("%Y%m%dT%H%M%S.%f")
        place = folder(self._cluster) / f"{stamp}-{self._verb}-{os.getpid()}"
        try:
            place.mkdir(mode=0o700, parents=True)
        except OSError as error:
            log.warning("no log is kept of this command: %s", error)
            return self
        self.folder = place
        self._handler = _Handler(place, self._hosts)
        logger = logging.getLogger("provisioning")
        self._level = logger.level
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self._handler)
        log.info("timeeval-cluster %s: %s", _version(), command_line(sys.argv))
        for old in runs(self._cluster)[:-RUNS]:
            _forget(old)
        return self

    def finish(self, documents: Iterable[str], code: int) -> None:
        """Note what the command had to say (JSON documents) and its exit code."""
        self._documents, self._code = list(documents), code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is None or self.folder is None:
            return
        if error is not None:
            # for the log alone: on the terminal it is said by who catches it
            log.info("ended by %s: %s", type(error).__name__, error, exc_info=None if self._expected(error) else error)
        last = {
            "schema": SCHEMA,
            "command": self._verb,
            "began": self._began,
            "ended": time.time(),
            "exit_code": self._code if error is None else getattr(error, "exit_code", None),
            "error": None if error is None else str(error),
        }
        logger = logging.getLogger("provisioning")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level)
        self._handler.close()
        lines = [mask(line) for line in (*self._documents, json.dumps(last))]
        with contextlib.suppress(OSError), _open(self.folder / OUTCOME) as stream:
            stream.write("".join(line + "\n" for line in lines))

    @staticmethod
    def _expected(error: BaseException) -> bool:
        return hasattr(error, "exit_code") or isinstance(error, KeyboardInterrupt | SystemExit)


class _Handler(logging.Handler):
    """Writes each record to the command's file, and to that of the host that it names first."""

    def __init__(self, place: Path, hosts: Sequence[str]) -> None:
        super().__init__(logging.DEBUG)
        self._place = place
        self._hosts = frozenset(hosts)
        self._streams: dict[str, Any] = {}
        self._written: dict[str, int] = {}
        self._lock = threading.Lock()
        self.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = mask(self.format(record)) + "\n"
            named = record.args[0] if isinstance(record.args, tuple) and record.args else None
            with self._lock:
                self._write(COMMAND, line)
                if isinstance(named, str) and named in self._hosts:
                    self._write(f"{re.sub(r'[^A-Za-z0-9._-]', '_', named)}.log", line)
        except Exception:  # noqa: BLE001 - a log must not end what it tells of; logging says it once
            self.handleError(record)

    def _write(self, name: str, line: str) -> None:
        written = self._written.get(name, 0)
        if written > LARGEST:
            return
        if name not in self._streams:
            self._streams[name] = _open(self._place / name)
        self._written[name] = written + len(line)
        self._streams[name].write(line if self._written[name] <= LARGEST else "the rest is left out\n")
        self._streams[name].flush()

    def close(self) -> None:
        with self._lock:
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()
        super().close()


def _forget(run: Path) -> None:
    """Remove the log of a command: a folder of files, without what `shutil` loads for more than that."""
    with contextlib.suppress(OSError):
        for file in run.iterdir():
            file.unlink()
        run.rmdir()


def _version() -> str:
    """Return what `importlib.metadata` says, which takes as long to load as half of a command."""
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder or "."):  # noqa: PTH208 - names are all that is wanted
                if name.startswith("timeeval_cluster-") and name.endswith(".dist-info"):
                    return name.split("-")[1].removesuffix(".dist")
    import importlib.metadata

    return importlib.metadata.version("timeeval-cluster")


def _open(file: Path) -> Any:  # noqa: ANN401 - a text stream
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="replace")


def last(cluster: Cluster, node: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return what the last command that looked at a node said of it, and the document of that command."""
    for run in reversed(runs(cluster)):
        documents = outcomes(run)
        said = next((document for document in documents if document.get("node") == node), None)
        if said is not None:
            return said, documents[-1]
    return None
