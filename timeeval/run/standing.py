"""Whether a host still is what it was proven to be: asked before each attempt, answered by a few stats.

What was proven of a host, its *standing*, comes there once per run; each attempt carries the digests of what it was
proven with. Only what a stat leaves in doubt is read again, and only once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.errors import InfrastructureError
from timeeval.run.layout import PRIVATE

if TYPE_CHECKING:
    from timeeval.run.local_code import Source

SCHEMA = "timeeval.standing/1"
VARIABLE = "TIMEEVAL_STANDING"
"""Names the file of the host's standing, in the environment of a worker."""
IMAGE_SECONDS = 2.0
"""So long an image's name is believed to mean what it meant; containers are started by the proven id anyway."""
_TICK = 2_000_000_000

Stamp = tuple[int, int, int, int]
Inspect = Callable[[str], str | None]


def document(
    *,
    host: str,
    since: str,
    mend: str,
    machine_id: str,
    boot_id: str,
    environment: str | None,
    records: Mapping[str, Sequence[Any]],
    files: Mapping[str, Sequence[Any]],
    images: Mapping[str, str],
    starts: Mapping[str, str] | None = None,
    code: Mapping[str, Source] | None = None,
) -> str:
    """Return the standing of a host as text.

    Parameters
    ----------
    host : str
        Its name in the run.
    since : str
        What the changes are counted from: it was "verified", or only looked at when "the run began".
    mend : str
        What to do when something has changed, as a sentence.
    machine_id, boot_id : str
        Which machine it is and since which start, as `boot` tells it.
    environment : str or None
        Identity of the environment.
    records, files : mapping
        Path -> (sha256, size, mtime_ns, inode, ctime_ns) of each package's RECORD, of each dataset file.
    images : mapping
        Name -> what the run knows it by on all hosts.
    starts : mapping, optional
        Name -> id by which this host's engine starts it; that of `images` when None.
    code : mapping, optional
        The user's own modules, which are not installed there.
    """
    names = ("host", "since", "mend", "machine_id", "boot_id", "environment", "records", "files", "images")
    values = (host, since, mend, machine_id, boot_id, environment, dict(records), dict(files), dict(images))
    facts = {
        **dict(zip(names, values, strict=True)),
        "starts": dict(images if starts is None else starts),
        "code": {name: asdict(source) for name, source in (code or {}).items()},
    }
    return json.dumps({"schema": SCHEMA, **facts}, sort_keys=True)


def digest_of(text: str) -> str:
    """Return the SHA-256 (hex) by which an attempt names a standing."""
    return hashlib.sha256(text.encode()).hexdigest()


def boot() -> str:
    """Return what changes when the machine starts anew; a container keeps the kernel's id, not its first process."""
    fields = _text("/proc/1/stat").rpartition(")")[2].split()
    return f"{_text('/proc/sys/kernel/random/boot_id')}/{fields[19] if len(fields) > 19 else '?'}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class Standing:
    """What was proven of this host, and what of it was looked at since.

    Parameters
    ----------
    text : str
        From `document`.
    inspect : callable, optional
        Gives the id that an image's name has now, None if there is none; default: asks the container engine.

    Raises
    ------
    ValueError
        If the text is no standing.
    """

    def __init__(self, text: str, inspect: Inspect | None = None) -> None:
        self._facts = json.loads(text)
        if not isinstance(self._facts, dict) or self._facts.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA}")
        self._inspect = inspect or _engine_image
        code = self._facts.get("code")
        self._code = json.dumps(code, sort_keys=True) if code else ""
        self._code_digest = digest_of(self._code)
        self._sites = sorted({str(Path(path).parents[1]) for path in self._facts.get("records", ())})
        self._read: dict[str, Stamp] = {}  # files that were read here and held what was proven
        self._folders: dict[str, Stamp] = {}  # folders of packages that were gone through
        self._asked: dict[str, float] = {}
        self._booted: str | None = None

    def changed(self, proven: Mapping[str, Any]) -> str:
        """Say what an attempt was proven with and is not there any more.

        Parameters
        ----------
        proven : mapping
            ``files`` (path -> sha256) and ``images`` (name -> id) of the attempt.

        Returns
        -------
        str
            A sentence with the host and what mends it; empty when all is as it was.
        """
        what = (
            self._machine()
            or self._environment()
            or next(filter(None, (self._file(path, digest) for path, digest in proven["files"].items())), "")
            or next(filter(None, (self._image(name, known) for name, known in proven["images"].items())), "")
        )
        facts = self._facts
        return f"changed since {facts['since']}: {what} on {facts['host']}; {facts['mend']}" if what else ""

    def start_ids(self, images: Mapping[str, str]) -> dict[str, str]:
        """Return the ids by which this host starts images (name -> what the run knows it by)."""
        starts: dict[str, str] = self._facts["starts"]
        return {name: starts.get(name, known) for name, known in images.items()}

    def code_file(self, results_dir: Path) -> str:
        """Put the user's modules down in the results folder, where processes of experiments find them.

        Returns
        -------
        str
            The file; empty when there are none.
        """
        if not self._code:
            return ""
        path = results_dir / PRIVATE / f"code-{self._code_digest}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
            partial.write_text(self._code, encoding="utf-8")
            partial.replace(path)
        return str(path)

    def _machine(self) -> str:
        if self._booted is None:  # this process would not outlive another start
            self._booted = ""
            if _text("/etc/machine-id") != self._facts["machine_id"]:
                self._booted = "the machine itself: it is another one"
            elif boot() != self._facts["boot_id"]:
                self._booted = "the machine's start: it was started anew"
        return self._booted

    def _environment(self) -> str:
        records: dict[str, Sequence[Any]] = self._facts["records"]
        for folder in self._sites:
            try:
                now = _stamp(os.stat(folder))  # noqa: PTH116 - half the time of Path's, before every attempt
            except OSError:
                return f"the packages in {folder}"
            if self._folders.get(folder) == now:
                continue
            proven = {path for path in records if path.startswith(f"{folder}/")}
            there = {f"{folder}/{name}/RECORD" for name in os.listdir(folder) if name.endswith(".dist-info")}  # noqa: PTH208
            for path in sorted(proven | {path for path in there if os.path.exists(path)}):  # noqa: PTH110
                if path not in records or self._differs(path, records[path]):
                    return f"the package {Path(path).parent.name.removesuffix('.dist-info')} in {folder}"
            self._folders[folder] = now
        return ""

    def _file(self, path: str, digest: str) -> str:
        row = self._facts["files"].get(path)
        if row is None or row[0] != digest or self._differs(path, row):
            return f"the dataset file {path}"
        return ""

    def _differs(self, path: str, row: Sequence[Any]) -> bool:
        digest, *known = row
        try:
            now = _stamp(os.stat(path))  # noqa: PTH116 - as above
            if now == tuple(known) or now == self._read.get(path):
                return False
            if now[0] != known[0]:
                return True
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                found = hashlib.file_digest(file, "sha256").hexdigest()
                after = _stamp(os.fstat(file.fileno()))
        except OSError:
            return True
        if found != digest or after != now:
            return True
        if time.time_ns() - now[3] > _TICK:  # a second change within one tick of the file system's clock leaves no mark
            self._read[path] = now
        return False

    def _image(self, name: str, known: str) -> str:
        if self._facts["images"].get(name) != known:
            return f"the image {name}"
        now = time.monotonic()
        if now - self._asked.get(name, -IMAGE_SECONDS) >= IMAGE_SECONDS:
            if self._inspect(name) != self._facts["starts"].get(name, known):
                return f"the image {name}"
            self._asked[name] = now
        return ""


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _engine_image(name: str) -> str | None:
    from docker.errors import ImageNotFound

    from timeeval.adapters.docker.engine import connect

    with connect(60) as client:
        try:
            found: str | None = client.images.get(name).id
        except ImageNotFound:
            return None
    return found


_held: dict[str, Standing] = {}


def hold(text: str) -> str:
    """Keep a standing for the attempts of this process; returns the digest by which they name it."""
    digest = digest_of(text)
    if digest not in _held:
        _held[digest] = Standing(text)
    return digest


def held(digest: str) -> Standing:
    """Return the standing of a digest: one that was held, or the one in the file that `VARIABLE` names.

    Raises
    ------
    InfrastructureError
        If it did not come to this process.
    """
    if digest not in _held:
        path = os.environ.get(VARIABLE, "")
        try:
            text = Path(path).read_text(encoding="utf-8") if path else ""
        except OSError:
            text = ""
        if digest_of(text) != digest:
            raise InfrastructureError(
                f"what was proven of this host (standing {digest[:12]}) did not come to its worker",
                remedy="Run it again with --resume; if it stays so, report it",
            )
        hold(text)
    return _held[digest]
