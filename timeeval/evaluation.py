"""Computing one attempt, on any node: what engines send there and call there.

`pack` makes a job on the driver; `run_job` runs it in a kept process of its own and returns the report as JSON, after
the outcome was made durable beside the results; `cancel_job` ends one that runs.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from timeeval.constants import EXECUTION_LOG
from timeeval.errors import TimeEvalError
from timeeval.run import layout, standing
from timeeval.run.model import Outcome, Report, run_of
from timeeval.run.nursery import Nursery
from timeeval.run.packing import Packer, decode, join
from timeeval.run.slot import Ending, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timeeval.experiment import Experiment


def pack(experiment: Experiment, results_dir: Path, image_ids: Mapping[str, str] | None = None) -> bytes:
    """Make the job of one experiment; `timeeval.run.packing.Packer` makes many at less cost.

    Parameters
    ----------
    experiment : Experiment
        What to compute.
    results_dir : Path
        Results folder on the machine that computes.
    image_ids : mapping of str to str, optional
        Proven image identity by ``name:tag``.

    Raises
    ------
    timeeval.run.packing.PackingError
        If it cannot be pickled.
    """
    return Packer(results_dir, image_ids).pack(experiment)


class SlotPool:
    """Kept processes of this machine, as many as jobs ran at a time.

    Parameters
    ----------
    threads : int, optional
        Threads for numerical libraries per process, where the environment does not say.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._nursery = Nursery(threads)
        self._lock = threading.Lock()
        self._idle: list[Slot] = []
        self._stops: dict[str, threading.Event] = {}
        self._closed = False

    @contextmanager
    def slot(self, attempt_id: str) -> Iterator[tuple[Slot, threading.Event]]:
        """Lend a slot for an attempt, with the event that cancels it."""
        with self._lock:
            stop = self._stops.setdefault(attempt_id, threading.Event())
            slot = self._idle.pop() if self._idle else Slot(self._nursery)
        try:
            yield slot, stop
        finally:
            with self._lock:
                del self._stops[attempt_id]
                closed, last = self._closed, not self._stops
                if not closed:
                    self._idle.append(slot)
            if closed:
                slot.close()
            if closed and last:
                self._nursery.close()

    def forbid(self, attempt_id: str) -> bool:
        """Kill an attempt if it runs, and end it at once should it begin later; return whether it runs."""
        with self._lock:
            running = attempt_id in self._stops
            self._stops.setdefault(attempt_id, threading.Event()).set()
        return running

    def end_run(self, run_id: str) -> None:
        """Kill all attempts of a run."""
        with self._lock:
            for attempt_id, stop in self._stops.items():
                if run_of(attempt_id) == run_id:
                    stop.set()

    def cancel(self, attempt_id: str) -> bool:
        """Kill an attempt that runs; return whether there was one."""
        with self._lock:
            stop = self._stops.get(attempt_id)
        if stop is not None:
            stop.set()
        return stop is not None

    def close(self) -> None:
        """Kill what runs and end all processes."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            stops = list(self._stops.values())
        for stop in stops:
            stop.set()
        for slot in idle:
            slot.close()
        if not stops:
            self._nursery.close()


_pool = SlotPool()
_DEAR = 0.5
"""Seconds from which on an outcome is kept for a driver that may be killed on the very machine."""


class Turn(Protocol):
    """What a worker that runs jobs one after the other gives to each of them."""

    part: Callable[[str], bytes]
    """Gives what many jobs have in common, by its digest."""

    def end(self) -> None:
        """Let the next job compute; may be called more than once."""


def run_job(
    job: bytes,
    attempt: Mapping[str, Any],
    pool: SlotPool | None = None,
    *,
    durable: bool = True,
    turn: Turn | None = None,
) -> str:
    """Run a job to its outcome.

    Parameters
    ----------
    job : bytes
        Made by `pack`.
    attempt : mapping
        ``id`` and ``host`` of the attempt; ``standing`` names what was proven of this host, if anything was.
    pool : SlotPool, optional
        Whose process computes; default: this worker's own.
    durable : bool
        Whether the kept outcome has to survive a power cut, and may be asked for again. Otherwise it is kept for the
        case that the driver is killed before it has recorded it, if it took longer than such a file is worth.
    turn : Turn, optional
        Ended as soon as nothing is left but to make the outcome durable; None where nobody waits, and the job is whole.

    Returns
    -------
    str
        A `Report` as JSON. Never raises: what goes wrong here is an outcome as well (``infra-error``).

    Notes
    -----
    An attempt whose outcome is already kept is not run a second time: its report is returned again.
    """
    started = time.time()
    attempt_id, host = str(attempt["id"]), str(attempt["host"])
    try:
        header, payload = decode(job)
        if turn is not None:
            payload = join(header, payload, turn.part)
        results_dir = Path(header["results_dir"])
        kept = layout.kept_outcome(results_dir, attempt_id) if durable else None
        if kept is not None:
            return kept.to_json()
        header |= {"host": host, "remote": "run_id" in attempt}  # an engine of this very machine names no run
        known = standing.held(attempt["standing"]) if "standing" in attempt else None
        if known is not None and (code := known.code_file(results_dir)):
            header["code"] = code
        if known is not None and "image_ids" in header["args"]:
            header["args"] = {**header["args"], "image_ids": known.start_ids(header["args"]["image_ids"])}
        if known is not None and header.get("proven") is not None:
            changed = known.changed(header["proven"])
            if changed:
                now = time.time()
                return Report(attempt_id, Outcome.INFRA, host, started, now, error=changed, changed=True).to_json()
        ending = _run(header, payload, results_dir, attempt_id, pool or _pool)
        report = _report(ending, attempt_id, host, started)
        if turn is not None:
            turn.end()
        if header["kind"] == "experiment" and (durable or report.ended - report.started > _DEAR):
            layout.keep_outcome(results_dir, report, durable=durable)
    except Exception as error:  # noqa: BLE001 - an exception here would be taken for a broken worker
        report = Report(attempt_id, Outcome.INFRA, host, started, time.time(), error=f"{host}: {error!r}")
    return report.to_json()


def cancel_job(attempt_id: str) -> bool:
    """Kill an attempt that runs in this process' own pool; return whether there was one."""
    return _pool.cancel(attempt_id)


def forbid_job(attempt_id: str) -> bool:
    """Kill an attempt in this process' own pool, now or when it begins; return whether it runs."""
    return _pool.forbid(attempt_id)


def end_run(run_id: str) -> None:
    """Kill all attempts of a run in this process' own pool."""
    _pool.end_run(run_id)


def _run(header: dict[str, Any], payload: bytes, results_dir: Path, attempt_id: str, pool: SlotPool) -> Ending:
    work_dir = layout.work_dir(results_dir, attempt_id)
    layout.make_folder(work_dir)
    run_id = run_of(attempt_id)
    header = {
        **header,
        "work_dir": str(work_dir),
        "args": {**header["args"], "run_id": run_id, "attempt_id": attempt_id},
    }
    with pool.slot(attempt_id) as (slot, stop):
        ending = slot.run(header, payload, work_dir / EXECUTION_LOG, stop)
    if header["containers"] and ending.abrupt:
        ending.error += remove_containers(attempt_id)
    if header["kind"] == "call" and ending.outcome is Outcome.OK:
        shutil.rmtree(work_dir)
    return ending


def _report(ending: Ending, attempt_id: str, host: str, started: float) -> Report:
    return Report(
        attempt_id,
        ending.outcome,
        host,
        started,
        time.time(),
        ending.error,
        ending.traceback,
        ending.hyper_params,
        ending.values,
        ending.cpu_seconds,
        ending.peak_memory,
    )


def remove_containers(attempt_id: str) -> str:
    """Remove the containers of an attempt whose process is gone; return what to add to its error."""
    from docker.errors import DockerException, NotFound
    from requests.exceptions import RequestException

    from timeeval.adapters.docker.engine import connect
    from timeeval.adapters.docker.settings import ATTEMPT_LABEL

    try:
        with connect(60) as client:
            label = f"{ATTEMPT_LABEL}={attempt_id}"
            for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                with suppress(NotFound):
                    container.remove(force=True, v=True)
    except (TimeEvalError, DockerException, RequestException) as error:
        return f"; its container may still run: {error}"
    return ""


__all__ = ["SlotPool", "cancel_job", "end_run", "forbid_job", "pack", "remove_containers", "run_job"]
