"""Bring afterwards what a run left on its hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provisioning import inventory
from timeeval.cluster.depot import ClusterDepot
from timeeval.cluster.translated import translated
from timeeval.errors import TimeEvalError
from timeeval.run.collecting import Collector
from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import run_of

if TYPE_CHECKING:
    from timeeval.run.collected import Collect
    from timeeval.run.records import ResultRow


def fetch_left(results_path: Path, level: Collect, cluster_file: Path | None = None) -> str:
    """Bring the files of a results folder's experiments that are still on their hosts.

    Parameters
    ----------
    results_path : Path
        The results folder of a run that does not go on any more.
    level : Collect
        How much of them.
    cluster_file : Path, optional
        The cluster file, if it is not where it was.

    Returns
    -------
    str
        What could not be had and why; empty when all is here.

    Raises
    ------
    TimeEvalError
        When the run goes on, computed on no cluster, or its cluster file cannot be read.
    """
    with Journal.open(results_path / FILE_NAME) as journal:  # nobody else may write to the folder meanwhile
        infos = {run.id: run.info for run in journal.runs()}
        rows = {row.key: row for run_id in infos for row in journal.rows(run_id)}
        origins: dict[tuple[str, str], list[ResultRow]] = {}
        for row in rows.values():
            origin = infos.get(run_of(row.attempt or ""), {}).get("origin")
            if origin is not None:
                origins.setdefault((str(origin["cluster_file"]), str(origin["results"])), []).append(row)
        if not origins:
            raise TimeEvalError(f"no experiment of {results_path} ran on hosts of a cluster", remedy="All is here")
        problems = []
        for (file, remote), left in origins.items():
            with translated():
                cluster = inventory.load(cluster_file or Path(file))
            depot = ClusterDepot(cluster, (), PurePosixPath(remote), results_path)
            problems.append(asyncio.run(_bring(Collector(depot, results_path, level), left)))
    return "; ".join(problem for problem in problems if problem)


async def _bring(collector: Collector, rows: list[ResultRow]) -> str:
    try:
        collector.want(rows)
        return await collector.settle()
    finally:
        await collector.close([])
