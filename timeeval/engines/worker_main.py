"""The processes of a run on its nodes: ``PREFIX/bin/python -m timeeval.engines.worker_main``, started by the guard.

What a process is to be comes as one JSON line on stdin (role, addresses, Dask configuration with the credentials of
that role), what it has to say goes as JSON lines to stdout; nothing secret is in its arguments or its environment, and
everything that prints writes to the log file behind stderr. It ends when stdin ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from timeeval.engines import ports
from timeeval.engines.porter import Porter
from timeeval.engines.sweeping import SLOT_MARK
from timeeval.run.standing import VARIABLE

COMPARED = ("distributed", "cloudpickle", "numpy", "pandas")
POLL_SECONDS = 0.25
CLOSE_SECONDS = 2.0
PR_SET_PDEATHSIG = 1
LINE_LIMIT = 1 << 30


def versions() -> dict[str, str]:
    """Return what must be equal on the driver and on every node, by name."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in COMPARED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {**found, "timeeval": package_digest()}


def package_digest() -> str:
    """Return a digest of this package's source, however it was installed."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def execute(task: str, job: bytes, attempt: str, turn: object = None) -> str:
    """Run ``module:function`` on a worker; what it returns must be text, for nothing else is read on the driver."""
    module, _, name = task.partition(":")
    more = {} if turn is None else {"turn": turn}
    text = getattr(importlib.import_module(module), name)(job, json.loads(attempt), **more)
    if type(text) is not str:
        raise TypeError(f"{task} returned {type(text).__name__}, not str")
    return text


def probe(job: bytes, attempt: Mapping[str, Any], turn: object) -> str:
    """Import what experiments need on this worker and report what cannot be; the task of the self-check."""
    from timeeval.run.model import Outcome, Report

    del turn
    started = time.time()
    missing = []
    for name in json.loads(job):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a module may fail in any way, and how is the answer
            missing.append(f"{name} cannot be imported: {type(error).__name__}: {error}")
    outcome = Outcome.INFRA if missing else Outcome.OK
    return Report(attempt["id"], outcome, attempt["host"], started, time.time(), error="; ".join(missing)).to_json()


class Voice:
    """JSON lines to the guard; everything else that is written to stdout from now on lands in the log."""

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def say(self, **message: object) -> None:
        """Send one line."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


async def incoming() -> AsyncIterator[dict[str, Any]]:
    """Yield the messages that follow the first line on stdin, until it ends."""
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def run_scheduler(spec: Mapping[str, Any], voice: Voice) -> None:
    """Serve a Dask scheduler until stdin ends."""
    from distributed import Scheduler

    async with asyncio.timeout(spec["start_seconds"]):
        scheduler = await Scheduler(**spec["options"])
    voice.say(event="up", address=scheduler.address, versions=versions())
    try:
        async for _ in incoming():
            pass
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(scheduler.close(), CLOSE_SECONDS)


async def run_workers(spec: Mapping[str, Any], voice: Voice) -> None:
    """Serve one nanny with one worker for each slot until stdin ends, and tell where each slot's worker is."""
    from distributed import Nanny

    from timeeval.engines.patience import PatientWorker

    options = {**spec["options"], "local_directory": spec["folder"]}
    porter = Porter(Path(spec["folder"]), spec["child"], voice.say)
    environment = {**options.pop("env", {}), **_standing(spec), **porter.environment}
    nannies = {
        slot: Nanny(
            spec["scheduler"],
            name=slot,
            env={**environment, SLOT_MARK: f"{spec['child']}/{slot}"},
            **{"worker_class": PatientWorker, **options},
        )
        for slot in spec["slots"]
    }
    async with asyncio.timeout(spec["start_seconds"]):
        await asyncio.gather(porter.open(), *(nanny.start() for nanny in nannies.values()))
    voice.say(event="up", versions=versions())

    async def tell_slots() -> None:
        told: dict[str, tuple[str | None, int | None]] = {}
        while True:
            for slot, nanny in nannies.items():
                # While a worker is being made anew, the nanny still knows the last one's address.
                up = nanny.process is not None and nanny.process.status.name == "running"
                now = (nanny.worker_address, nanny.pid) if up else (None, None)
                if told.get(slot) != now:
                    told[slot] = now
                    voice.say(event="slot", slot=slot, address=now[0], pid=now[1])
            await asyncio.sleep(POLL_SECONDS)

    telling = asyncio.create_task(tell_slots())
    try:
        async for message in incoming():
            await porter.obey(message)
    finally:
        telling.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                asyncio.gather(*(nanny.close(timeout=1) for nanny in nannies.values())), CLOSE_SECONDS
            )


def _standing(spec: Mapping[str, Any]) -> dict[str, str]:
    """Put down what was proven of this host; returns the variable by which workers find it."""
    if not spec["standing"]:
        return {}
    file = Path(spec["folder"]) / "standing.json"
    file.write_text(spec["standing"], encoding="utf-8")
    return {VARIABLE: str(file)}


def configure(spec: Mapping[str, Any]) -> None:
    """Replace whatever Dask configuration this machine has by the run's, and log as the run says.

    Dask sets up logging when it is imported, in the nannies' workers too; so it must find the run's logging in a file.
    """
    for handler in spec["logging"]["handlers"].values():
        if "filename" in handler:
            Path(handler["filename"]).parent.mkdir(parents=True, exist_ok=True)
    file = Path(spec["folder"]) / f"dask-{spec['role']}.json"
    file.write_text(json.dumps({"distributed": {"logging": spec["logging"]}}), encoding="utf-8")
    os.environ["DASK_CONFIG"] = str(file)

    import dask
    import distributed  # noqa: F401 - registers its defaults, which must lie below the run's values

    dask.config.refresh(paths=[], env={})
    dask.config.update(dask.config.config, spec["config"])


def explain(error: BaseException) -> str:
    """Return an error with its causes in one line."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 5:
        text = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        if text not in parts:
            parts.append(text)
        cause = cause.__cause__ or cause.__context__
    return " <- ".join(parts)


def main() -> int:
    """Be what the first line on stdin says."""
    voice = Voice()
    # Unbuffered: what follows the first line must be left for the event loop's own reader.
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return 2
        line += byte
    spec: dict[str, Any] = json.loads(line)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != spec["parent"]:
        return 2  # the guard died before it could be watched
    signal.signal(
        signal.SIGTERM, lambda _number, _frame: os._exit(0)
    )  # the guard ends the tree; nothing here is worth saving
    try:
        configure(spec)
        if spec["role"] == "client":
            from timeeval.engines.gateway import run_client

            asyncio.run(run_client(spec, voice))
        elif spec["role"] == "joined":
            from timeeval.engines.joined_client import run_joined

            asyncio.run(run_joined(spec, voice))
        else:
            asyncio.run({"scheduler": run_scheduler, "workers": run_workers}[spec["role"]](spec, voice))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the driver must hear it
        traceback.print_exc()
        text = explain(error)
        if "Address already in use" in text and (who := ports.held(spec.get("options", {}))):
            text += f"; {who}"
        voice.say(event="failed", error=text)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    status = main()
    sys.stderr.flush()
    os._exit(status)  # Dask's threads must not hold up the end
