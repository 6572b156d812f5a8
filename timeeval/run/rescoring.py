"""New metrics for executions whose scores are stored: computed on this machine, recorded one by one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timeeval.constants import ANOMALY_SCORES_TS, EXECUTION_LOG
from timeeval.engines.local import usable_cores
from timeeval.errors import InfrastructureError
from timeeval.evaluation import SlotPool
from timeeval.run import layout
from timeeval.run.model import Cell, Outcome
from timeeval.run.packing import PackingError, decode
from timeeval.run.records import Lacking, Scored

if TYPE_CHECKING:
    from timeeval.run.journal import Journal
    from timeeval.run.slot import Ending

_log = logging.getLogger("TimeEval")

ScoringJob = Callable[[str, tuple[str, ...], Path], bytes | None]
"""Makes the job that computes these metrics of an execution's scores in a folder; None if its labels are not here."""


@dataclass(frozen=True, slots=True)
class Rescorer:
    """Computes what executions lack of metrics from their stored scores.

    Attributes
    ----------
    results_path : Path
        Results folder on this machine.
    cells : mapping of str to Cell
        The row that each execution fills, by key.
    job_of : callable
        See `ScoringJob`.
    """

    results_path: Path
    cells: Callable[[str], Cell]
    job_of: ScoringJob

    async def run(self, lacking: Mapping[str, Lacking], journal: Journal) -> None:
        """Compute and record what can be had from stored scores; the rest lacks its metrics afterwards as before.

        A metric that fails, or that ends its process, is recorded as failed: it would do so again.
        """
        jobs = ((lack, job) for key, lack in lacking.items() if (job := self._job(key, lack)) is not None)
        first = next(jobs, None)
        if first is None:
            return
        workers = usable_cores()
        pool = SlotPool(threads=1)
        finished: asyncio.Queue[Scored | None] = asyncio.Queue()

        async def work(item: tuple[Lacking, bytes] | None) -> None:
            while item is not None:
                lack, job = item
                scored = await asyncio.get_running_loop().run_in_executor(threads, _score, pool, lack, job)
                if scored is not None:
                    finished.put_nowait(scored)
                item = next(jobs, None)

        with ThreadPoolExecutor(workers, thread_name_prefix="timeeval-scores") as threads:
            recording = asyncio.create_task(_record(finished, journal))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(work(first))
                    for _ in range(workers - 1):
                        group.create_task(work(next(jobs, None)))
            finally:
                await asyncio.shield(asyncio.to_thread(pool.close))
                finished.put_nowait(None)
                await asyncio.shield(recording)

    def _job(self, key: str, lack: Lacking) -> bytes | None:
        folder = layout.experiment_dir(self.results_path, self.cells(key))
        if not (folder / ANOMALY_SCORES_TS).is_file():
            return None
        try:
            return self.job_of(key, lack.names, folder)
        except PackingError as error:
            _log.warning("%s", error)
            return None


async def _record(finished: asyncio.Queue[Scored | None], journal: Journal) -> None:
    """Write what is finished, all that is there in one transaction, until the end is announced."""
    while True:
        batch = [await finished.get()]
        while not finished.empty():
            batch.append(finished.get_nowait())
        await asyncio.to_thread(journal.add_metrics, [scored for scored in batch if scored is not None])
        if batch[-1] is None:
            return


def _score(pool: SlotPool, lack: Lacking, job: bytes) -> Scored | None:
    header, payload = decode(job)
    folder = Path(header["work_dir"])
    try:
        with pool.slot(lack.attempt) as (slot, stop):
            ending = slot.run(header, payload, folder / EXECUTION_LOG, stop)
    except (InfrastructureError, OSError) as error:
        _log.warning("%s: %s", folder, error)
        return None
    if ending.outcome is Outcome.OK:
        return Scored(lack.attempt, lack.names, ending.values)
    if _is_the_metrics_fault(ending, stop):
        _log.warning("%s: computing %s ended its process: %s", folder, ", ".join(lack.names), ending.error)
        return Scored(lack.attempt, lack.names, {})
    if not stop.is_set():
        _log.warning("%s: %s", folder, ending.error)
    return None


def _is_the_metrics_fault(ending: Ending, stop: threading.Event) -> bool:
    return ending.abrupt and ending.outcome is not Outcome.INFRA and not stop.is_set()
