"""Whether a run would come up: ``python -m timeeval.engines.selfcheck``, one JSON object in, one line per node out.

It starts what a run starts, by the same code: a guard and one worker on each node, the scheduler, TLS of its own; lets
each worker import what experiments need; and ends it all. On stdin comes
``{"cluster": FILE, "nodes": [NAME, …], "modules": [NAME, …], "environment": NAME}``, to stdout goes
``{"node", "ok", "error", "remedy", "worker"}``; what is logged goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.engines.base import Parcel
from timeeval.errors import EngineError, TimeEvalError
from timeeval.run.model import Attempt, Event, HostLost, HostUp, Interrupted, Outcome, Reported

if TYPE_CHECKING:
    from timeeval.engines.dask_engine import DaskEngine

PROBE = "timeeval.engines.worker_main:probe"
MODULES = ("timeeval.evaluation", "timeeval.adapters", "docker", "numpy", "pandas")
ANSWER_SECONDS = 90.0
LEASE_SECONDS = 20.0


class Check:
    """One probe on each node, and what became of it.

    Parameters
    ----------
    engine : DaskEngine
        With `PROBE` as its task.
    nodes : sequence of str
        Names of the hosts to be checked.
    modules : sequence of str
        What each worker has to import.
    """

    def __init__(self, engine: DaskEngine, nodes: Sequence[str], modules: Sequence[str]) -> None:
        self._engine = engine
        self._nodes = tuple(nodes)
        self._job = json.dumps([*MODULES, *modules]).encode()
        self._up: set[str] = set()
        self._answers: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def run(self) -> list[dict[str, Any]]:
        """Start, probe, stop; returns one answer per node."""
        try:
            await self._engine.start(self._hear)
            for node in sorted(self._up):
                await self._engine.submit(Parcel((Attempt(node, "selfcheck", 1, node),), (self._job,)))
            await self._wait()
        except EngineError as error:
            for node in self._nodes:
                if node not in self._engine.failures:
                    self._answers.setdefault(node, str(error))
        finally:
            await self._engine.stop()
        return list(self._results())

    def _hear(self, event: Event) -> None:
        match event:
            case HostUp(host):
                self._up.add(host)
            case HostLost(host, reason):
                self._answers.setdefault(host, reason)
            case Interrupted(node, reason):
                self._answers.setdefault(node, reason)
            case Reported(report):
                self._answers.setdefault(report.attempt, "" if report.outcome is Outcome.OK else report.error)
            case _:
                pass
        self._changed.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not self._up <= self._answers.keys():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for node in self._up:
                self._answers.setdefault(node, f"its worker did not answer within {ANSWER_SECONDS:g} s")

    def _results(self) -> Iterator[dict[str, Any]]:
        for node in self._nodes:
            failure = self._engine.failures.get(node)
            error = str(failure) if failure is not None else self._answers.get(node, "it did not come up")
            remedy = failure.remedy if failure is not None else None
            if error and "cannot be imported" in error:
                remedy = (
                    "Name the package in the requirements of cluster.toml and run `timeeval-provision create-envs`."
                )
            text = error.removesuffix(remedy or "").removeprefix(f"{node}: ").strip()
            yield {
                "node": node,
                "ok": not error,
                "error": text,
                "remedy": remedy or "",
                "worker": self._engine.versions_of(node),
            }


async def check(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answer a request; raises `timeeval.errors.TimeEvalError` where the cluster file cannot be used at all."""
    from timeeval import cluster as clusters

    cluster = clusters.open_cluster(Path(request["cluster"]), request.get("environment"))
    nodes = clusters.choose(cluster, request["nodes"], (), None)
    run_id = f"check-{secrets.token_hex(6)}"
    engine = clusters.make_engine(
        cluster, nodes, run_id, results_path=Path(run_id), lease=LEASE_SECONDS, slots=1, task=PROBE
    )
    return await Check(engine, [node.name for node in nodes], request.get("modules", ())).run()


def main() -> int:
    """Read the request and answer; returns 0 when every node is well, 4 when one is not, 2 for a bad request."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        request = json.load(sys.stdin)
        answers = asyncio.run(check(request))
    except (TimeEvalError, KeyError, ValueError) as error:
        sys.stderr.write(f"selfcheck: {error}\n")
        return 2
    for answer in answers:
        sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if all(answer["ok"] for answer in answers) else 4


if __name__ == "__main__":
    sys.exit(main())
