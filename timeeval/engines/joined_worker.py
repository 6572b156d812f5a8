"""What is run on workers that somebody else started: all answers are text or plain bytes, and nothing is kept running.

Nothing here ends, restarts or configures a worker. What an attempt needs there beside it (the proof of the host, the
folder of the run) is put down once, and the folder is removed when its files have been brought home.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from timeeval.engines import joined_parts
from timeeval.engines.worker_main import execute
from timeeval.run.layout import PRIVATE

PIECE = 4 << 20
REPORTS = "timeeval-reports"
LACKS = "a part is not here"

# Sent as source: it has to answer as well where this package is not installed.
GREETING = """
def greet():
    import json, platform
    answer = {"hostname": platform.node(), "error": ""}
    try:
        from timeeval.engines.worker_main import versions
        from timeeval.run.standing import boot
        answer.update(versions=versions(), boot=boot())
    except Exception as error:
        answer["error"] = "%s: %s" % (type(error).__name__, error)
    return json.dumps(answer)
"""
GREET = f"(lambda scope: (exec({GREETING!r}, scope), scope['greet']())[1])({{}})"


class _Turn:
    """What a job gets that is not alone with its parts."""

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self.part: Callable[[str], bytes] = parts.__getitem__

    def end(self) -> None:
        """Let the next one compute: none waits here."""


def execute_all(task: str, jobs: list[bytes], bundle: str) -> str:
    """Run attempts, one after the other; of a bundle each report is told as an event the moment it is there.

    ``bundle`` is ``{"key", "attempts", "run", "parts"}`` in JSON. The answer is the report of a single one, and `LACKS`
    when nothing was begun because a part is not here.
    """
    from distributed import get_worker

    told = json.loads(bundle)
    key, attempts, parts = told["key"], told["attempts"], told["parts"]
    with _parts_lock:
        held = {part: _parts[part][0] for part in parts if part in _parts}
        for part in held:
            _parts[part][1].add(told["run"])
    if len(held) < len(parts):
        return LACKS
    turn = _Turn(held)
    if len(jobs) == 1:
        return execute(task, jobs[0], attempts[0], turn)
    worker = get_worker()
    for index, (job, attempt) in enumerate(zip(jobs, attempts, strict=True)):
        worker.log_event(REPORTS, [key, index, execute(task, job, attempt, turn)])
    return ""


_parts: dict[str, tuple[bytes, set[str]]] = {}  # what jobs have in common, by its SHA-256, and the runs that use it
_parts_lock = threading.Lock()


def hold_part(run: str, part: str, content: bytes | None) -> bool:
    """Keep what many jobs of a run have in common, until its driver is silent for as long as its lease.

    Without ``content`` it is to be had of another worker of this machine; the answer tells whether it is here now.
    """
    if content is not None and hashlib.sha256(content).hexdigest() != part:
        raise ValueError(f"what came is not part {part}")
    with _parts_lock:
        held = _parts.get(part)
    if held is None:
        if content is not None:
            joined_parts.put(part, content)
        elif (content := joined_parts.take(part)) is None:
            return False
        held = (content, set())
    with _parts_lock:
        _parts.setdefault(part, held)[1].add(run)
    return True


def _drop_parts(run: str) -> None:
    with _parts_lock:
        for part, (_, runs) in list(_parts.items()):
            runs.discard(run)
            if not runs:
                del _parts[part]
                joined_parts.drop(part)


def _touch_parts(run: str) -> None:
    with _parts_lock:
        parts = [part for part, (_, runs) in _parts.items() if run in runs]
    for part in parts:
        joined_parts.touch(part)


def answer(task: str, job: bytes) -> str:
    """Run ``module:function`` and say in JSON what it answered or what it raised."""
    try:
        return json.dumps({"text": execute(task, job, "{}")})
    except Exception as error:  # noqa: BLE001 - an exception would travel as a pickle, which nobody reads
        return json.dumps({"error": f"{type(error).__name__}: {error}"})


def settle(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Take ``{"standing", "folder"}``: keep the one for this process' attempts, make the other, for this user only."""
    from timeeval.run.standing import hold

    del attempt
    asked = json.loads(job)
    folder = asked["folder"]
    if folder is not None:
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102 - never through a link, never into somebody else's folder
        except FileExistsError:
            status = os.lstat(folder)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                raise
    return json.dumps({"standing": hold(asked["standing"])})


_leases: dict[str, float] = {}  # of each run, when its driver is taken for dead
_leases_lock = threading.Lock()


def beat(run: str, lease: float) -> bool:
    """Take a sign of life of a run's driver: after so many seconds without another its attempts here are killed."""
    with _leases_lock:
        alone = not _leases
        _leases[run] = time.monotonic() + lease
    _touch_parts(run)
    if alone:
        threading.Thread(target=_watch_leases, name="timeeval-lease", daemon=True).start()
    return True


def _watch_leases() -> None:
    from timeeval.evaluation import end_run

    while True:
        with _leases_lock:
            now = time.monotonic()
            over = [run for run, until in _leases.items() if until < now]
            for run in over:
                del _leases[run]
            left = min(_leases.values(), default=None)
        for run in over:
            end_run(run)
            _drop_parts(run)
        if left is None:
            return
        time.sleep(max(0.05, min(left - now, 1.0)))


def sees(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Tell whether a file of the driver is here, under the same name and with the same content."""
    del attempt
    path, content = json.loads(job)
    try:
        return json.dumps(Path(path).read_text(encoding="utf-8") == content)
    except OSError:
        return json.dumps(obj=False)


def files(job: bytes, attempt: Mapping[str, Any]) -> str:
    """List the regular files below a folder of ``[root, path]`` as ``[[path, size, sha256], ...]``, following no link.

    The answer is null where there is no such folder.
    """
    del attempt
    root, folder = json.loads(job)
    top = os.path.join(root, folder)  # noqa: PTH118
    if not stat.S_ISDIR(_mode(top)):
        return "null"
    return json.dumps([[path, *_digest(top, path)] for path in _regular(top)])


def drop(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Remove files that the driver does not need any more: ``[root, paths]``."""
    del attempt
    root, paths = json.loads(job)
    for path in paths:
        (Path(root) / path).unlink(missing_ok=True)
    return ""


def remove(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Remove folders whose files have been brought home, and what is empty then: ``[root, folders]``."""
    del attempt
    root, folders = json.loads(job)
    for folder in folders:
        shutil.rmtree(Path(root) / folder, ignore_errors=True)
    for sources in Path(root, PRIVATE).glob("code-*.json"):  # put down again when they are needed
        sources.unlink(missing_ok=True)
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(folder)  # noqa: PTH106
    return ""


def clean(job: bytes, attempt: Mapping[str, Any]) -> str:
    """Remove the containers of an attempt whose worker is gone."""
    from timeeval.evaluation import remove_containers

    del attempt
    return json.dumps(remove_containers(json.loads(job)))


def piece(root: str, path: str, offset: int) -> bytes:
    """Return at most `PIECE` bytes of a regular file below a folder, following no link."""
    with os.fdopen(_open(root, path), "rb") as file:
        file.seek(offset)
        return file.read(PIECE)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _regular(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, root)


def _digest(root: str, path: str) -> tuple[int, str]:
    with os.fdopen(_open(root, path), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return os.fstat(file.fileno()).st_size, digest


def _open(root: str, path: str) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *parents, name = path.split("/")
        for parent in parents:
            below = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # non-blocking, because a FIFO under that name must not hang the worker
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"not a regular file: {path!r}")
    return descriptor
