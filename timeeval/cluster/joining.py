"""Runs on workers of a Dask scheduler that somebody else runs: a task on a worker of each host looks there before.

There is no cluster file and no receipt; so what an experiment needs is demanded of every host as it is now: the same
files, images and packages everywhere, and the driver's versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import shlex
import socket
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from provisioning.errors import NotVerifiedError
from provisioning.noderange import expand, fold
from timeeval.cluster.observing import LOOK, lacking, proof_of, question_of, receipt_of
from timeeval.cluster.translated import translated
from timeeval.datasets.locations import readable
from timeeval.engines.joined import WORKER, JoinedEngine, JoinedHost
from timeeval.engines.joined_depot import JoinedDepot
from timeeval.engines.joined_link import Link, Scheduler, machine_of
from timeeval.errors import EngineError
from timeeval.proof import Claim
from timeeval.run import local_code
from timeeval.run.layout import PRIVATE
from timeeval.run.session import Place

if TYPE_CHECKING:
    from timeeval.proof import Proof
    from timeeval.run.session import Request

ARRIVAL_SECONDS = 30.0
LOOK_SECONDS = 900.0

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Seen:
    """A host as one of its workers sees it.

    Attributes
    ----------
    machine : str
        What its workers say of it, so that it is known again.
    worker : str
        Address of the worker that was asked.
    answer : mapping
        Of the look; empty where it was not taken.
    shares : bool
        Whether it sees the driver's results folder.
    faults : tuple of str
        Why it cannot be used.
    """

    machine: str
    worker: str
    answer: Mapping[str, Any]
    shares: bool
    faults: tuple[str, ...]


def join(
    scheduler: Scheduler,
    request: Request,
    *,
    limit: Sequence[str] = (),
    exclude: Sequence[str] = (),
    min_workers: int = 1,
) -> Place:
    """Return where a run is computed: on the workers of a scheduler, behind the same demands as on a cluster.

    Parameters
    ----------
    scheduler : Scheduler
        Where it listens.
    request : Request
        What the run asks for.
    limit, exclude : sequence of str
        Hosts that may compute, or may not, by the names they give themselves.
    min_workers : int
        So many hosts must be there.

    Raises
    ------
    TimeEvalError
        If the scheduler cannot be used, too few hosts come, or hosts lack what the run needs; naming each.
    """
    scheduler.check()
    question = question_of(request.needs)
    seen = _apart(_survey(scheduler, question, request.results_path, (limit, exclude), min_workers))
    faults = {name: "; ".join(host.faults) for name, host in (seen | _odd(seen)).items() if host.faults}
    if faults:
        _refuse(faults, len(seen))
    proof = _proof(seen, question)
    shared = all(host.shares for host in seen.values())
    tasks = request.resource_constraints.tasks_per_host
    mark = hashlib.sha256(f"{socket.gethostname()}:{request.results_path.resolve()}".encode()).hexdigest()[:16]
    remote = Path("/var/tmp") / f"timeeval-{request.results_path.name}-{mark}"  # noqa: S108 - made 0700 there
    engine = JoinedEngine(
        scheduler,
        [JoinedHost(name, host.machine, proof.standings[name]) for name, host in seen.items()],
        request.run_id,
        results=None if shared else remote,
        slots=tasks if tasks > 1 else None,
    )
    return Place(
        engine,
        remote=True,
        image_ids=proof.image_ids,
        data_digests=proof.data_digests,
        proof={**proof.to_json(), "scheduler": scheduler.address},
        depot=None
        if shared
        else JoinedDepot(scheduler, {name: host.machine for name, host in seen.items()}, remote, request.results_path),
    )


def _apart(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a thread of its own: the caller's may have an event loop already (notebooks)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _survey(
    scheduler: Scheduler,
    question: Mapping[str, Any],
    results_path: Path,
    choice: tuple[Sequence[str], Sequence[str]],
    min_workers: int,
) -> dict[str, Seen]:
    """Look at every host; returns them by name."""
    news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    link = Link(scheduler, news.put_nowait)
    await link.start()
    try:
        hosts = await _arrived(news, scheduler.address, choice, min_workers)
        with _token(results_path) as token:
            looks = [_look(link, address, greeting, question, token) for address, greeting in hosts.values()]
            return dict(zip(hosts, await asyncio.gather(*looks), strict=True))
    finally:
        await link.stop()


@contextmanager
def _token(results_path: Path) -> Iterator[tuple[str, str]]:
    """Put a random text into the results folder for a while; who reads it there sees the folder."""
    path, content = results_path / PRIVATE / f"token-{secrets.token_hex(8)}", secrets.token_hex(16)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    try:
        yield str(path), content
    finally:
        path.unlink()


async def _arrived(
    news: asyncio.Queue[dict[str, Any]],
    address: str,
    choice: tuple[Sequence[str], Sequence[str]],
    min_workers: int,
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Wait until enough hosts are there; returns a worker and its greeting for each, by the host's name."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS):
            while len(found) < min_workers:
                message = await news.get()
                if message["event"] == "lost":
                    raise EngineError(f"the Dask scheduler {address} was lost: {message['reason']}")
                if message["event"] == "workers":
                    found = _chosen(_hosts(message["workers"]), *choice)
    except TimeoutError:
        raise EngineError(
            f"{len(found)} hosts have workers at {address} that may be used, {min_workers} must",
            remedy="Start workers there, or change --limit, --exclude and --min-workers",
        ) from None
    return found


def _hosts(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return one worker for each host; hosts that give themselves the same name get numbers."""
    machines: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for address in sorted(workers):
        greeting = workers[address]
        # one that cannot tell where it is stands for itself
        machines.setdefault(machine_of(greeting) if greeting.get("boot") else address, (address, greeting))
    shared = Counter(greeting["hostname"] for _, greeting in machines.values())
    names: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for address, greeting in machines.values():
        name = greeting["hostname"] or address
        names[name if shared[greeting["hostname"]] == 1 else f"{name}@{address}"] = (address, greeting)
    return names


def _chosen(
    hosts: dict[str, tuple[str, Mapping[str, Any]]], limit: Sequence[str], exclude: Sequence[str]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    with translated():
        wanted = {name for text in limit for name in expand(text)}
        unwanted = {name for text in exclude for name in expand(text)}
    return {name: host for name, host in hosts.items() if (not limit or name in wanted) and name not in unwanted}


async def _look(
    link: Link, worker: str, greeting: Mapping[str, Any], question: Mapping[str, Any], token: tuple[str, str]
) -> Seen:
    machine = machine_of(greeting)
    if greeting["error"]:
        return Seen(machine, worker, {}, False, (f"timeeval cannot be used there: {greeting['error']}",))
    here, there = link.versions, greeting["versions"]
    differing = [f"{name} {there.get(name)} there, {here[name]} here" for name in here if here[name] != there.get(name)]
    if differing:
        return Seen(machine, worker, {}, False, (f"its environment differs from the driver's: {', '.join(differing)}",))
    try:
        answer = json.loads(await link.ask(worker, LOOK, dict(question), LOOK_SECONDS))
        shares = json.loads(await link.ask(worker, f"{WORKER}:sees", list(token), LOOK_SECONDS))
    except EngineError as error:
        return Seen(machine, worker, {}, False, (f"it could not be looked at: {error}",))
    return Seen(machine, worker, answer, shares is True, (*lacking(question, answer), *_foreign(question, answer)))


def _foreign(question: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """Return which files are others than the driver's, where the driver has them."""
    lines = []
    for folder, paths in question["files"].items():
        there = answer["digests"][folder]
        other = [
            path
            for path in paths
            if path in there and _digest(readable(Path(folder)) / path) not in {None, there[path]}
        ]
        if other:
            lines.append(f"files of {folder} are not the ones that the driver has: {', '.join(other[:3])}")
    return lines


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _odd(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Return hosts whose packages are not those of most hosts of their kind, with that as a fault."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    identities = {
        name: ((host.answer["machine"], host.answer["libc"]), str((host.answer["environment"] or {}).get("identity")))
        for name, host in seen.items()
        if not host.faults
    }
    for kind, identity in identities.values():
        kinds.setdefault(kind, Counter())[identity] += 1
    return {
        name: Seen(seen[name].machine, seen[name].worker, {}, False, ("its packages are not those of the other hosts",))
        for name, (kind, identity) in identities.items()
        if identity != kinds[kind].most_common(1)[0][0]
    }


def _refuse(faults: Mapping[str, str], count: int) -> None:
    by_cause: dict[str, list[str]] = {}
    for name, cause in faults.items():
        by_cause.setdefault(cause, []).append(name)
    causes = "".join(f"\n  {fold(names)}: {cause}" for cause, names in by_cause.items())
    with translated():
        raise NotVerifiedError(
            f"{len(faults)} of {count} hosts may not run this:{causes}\n",
            remedy="Mend that where the workers run (it is not ours to do), or leave them out with --exclude "
            + ",".join(shlex.quote(name) for name in faults),
        )


def _proof(seen: Mapping[str, Seen], question: Mapping[str, Any]) -> Proof:
    claim = Claim(
        "worker",
        False,
        lambda _host: "mend it there and run again with --resume",
        "Make them the same on all hosts, or leave hosts out with --exclude",
    )
    receipts = {name: receipt_of(name, host.answer) for name, host in seen.items()}
    return proof_of(receipts, question, {}, claim, local_code.collect())
