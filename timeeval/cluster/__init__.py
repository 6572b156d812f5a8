"""The one room where `timeeval` meets `provisioning`: the gate, the way to the hosts, the way back of results."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning import inventory
from timeeval.cluster.depot import ClusterDepot
from timeeval.cluster.gating import gate, located
from timeeval.cluster.machines import known_of, measured
from timeeval.cluster.translated import translated
from timeeval.engines import naming
from timeeval.engines.dask_engine import RUN_JOB, DaskEngine
from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.launching import Host
from timeeval.engines.line import ATTACH
from timeeval.engines.overwrites import wishes_of
from timeeval.errors import EngineError, TimeEvalError
from timeeval.run.session import Place

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.process import Process as NodeProcess
    from timeeval.remote_configuration import RemoteConfiguration
    from timeeval.run.session import Request

LOGS = "dask-logs"
OUTLIVING = "timeeval.cluster.outliving"

logger = logging.getLogger(__name__)


def open_cluster(path: Path, environment: str | None = None) -> Cluster:
    """Read a cluster file and choose one of its environments; raises `TimeEvalError` with file, line and key."""
    with translated():
        return inventory.load(path).using(environment)


def dataset_sources(path: Path) -> dict[Path, Path]:
    """Return the dataset folders of a cluster file: path on the nodes -> folder on the driver."""
    return {Path(folder.path): folder.source for folder in open_cluster(path).datasets}


def choose(
    cluster: Cluster, limit: Sequence[str], exclude: Sequence[str], remote: RemoteConfiguration | None
) -> tuple[Node, ...]:
    """Return the nodes that the command line and the script leave.

    A script's ``worker_hosts`` act like ``--limit``, each matched by name or address; ``localhost`` is the driver if
    that is one of the cluster's hosts, and says nothing otherwise.

    Raises
    ------
    TimeEvalError
        If a host is unknown, naming the script's and the cluster file's hosts.
    """
    with translated():
        nodes = cluster.select(limit, exclude)
    wanted = [host for host in (remote.worker_hosts if remote else []) if naming.says_something(cluster, host)]
    if not wanted:
        return nodes
    named = {naming.match(cluster, host, "worker_hosts").name for host in wanted}
    chosen = tuple(node for node in nodes if node.name in named)
    if not chosen:
        raise TimeEvalError(
            f"the script's worker_hosts {', '.join(wanted)} and the command line leave no host",
            remedy="Change --limit and --exclude, or the script",
        )
    return chosen


def scheduler_of(cluster: Cluster, remote: RemoteConfiguration | None) -> Node:
    """Return the node of the Dask scheduler: the script's, if it names one, else the cluster file's."""
    if remote is None or not naming.says_something(cluster, remote.scheduler_host):
        return cluster.scheduler
    return naming.match(cluster, remote.scheduler_host, "scheduler_host")


def host_of(cluster: Cluster, node: Node, *, slots: int | None = None) -> Host:
    """Return what the engine must know of a node; raises `TimeEvalError` where the cluster file does not say it."""
    if cluster.environment is None:
        raise TimeEvalError(
            f"{cluster.file} has no [environment]",
            remedy="Name prefix and python there and run `timeeval-provision create-envs`",
        )
    return Host(
        name=node.name,
        slots=node.slots if slots is None else slots,
        addresses=tuple(naming.addresses(cluster, node)),
        python=str(cluster.environment.prefix / "bin" / "python"),
        state=str(cluster.state),
    )


def place(
    path: Path,
    request: Request,
    *,
    limit: Sequence[str] = (),
    exclude: Sequence[str] = (),
    min_workers: int = 1,
    lease: float | None = None,
    environment: str | None = None,
) -> Place:
    """Return where a run of `timeeval-run` is computed: an engine on verified nodes, behind the gate.

    Parameters
    ----------
    path : Path
        The cluster file.
    request : Request
        What the run asks for.
    limit, exclude, min_workers, lease, environment
        As on the command line.

    Raises
    ------
    TimeEvalError
        If nodes are not verified for what the run needs, or script and cluster file contradict each other.
    """
    cluster = open_cluster(path, environment)
    chosen = choose(cluster, limit, exclude, request.remote_config)
    proof, nodes = gate(cluster, chosen, request.needs, min_workers=min_workers)
    tasks = request.resource_constraints.tasks_per_host
    speeds = measured(cluster, nodes, proof.nodes)
    engine = make_engine(
        cluster,
        nodes,
        request.run_id,
        results_path=request.results_path,
        remote=request.remote_config,
        min_workers=min_workers,
        lease=lease,
        slots=tasks if tasks > 1 else None,
        standings=proof.standings,
        speeds={host: found["speed"] for host, found in speeds.items()},
    )
    return Place(
        engine,
        remote=True,
        depot=make_depot(cluster, nodes, request.results_path, request.remote_config),
        origin={"cluster_file": str(cluster.file), "results": str(remote_results(cluster, request.results_path))},
        image_ids=proof.image_ids,
        data_digests=proof.data_digests,
        proof=proof.to_json(),
        hosts=known_of(cluster, nodes, speeds, engine.threads),
        locate=partial(located, cluster),
    )


class _Process:
    """A program on a node, as the engine sees it."""

    def __init__(self, process: NodeProcess) -> None:
        self._process = process

    async def receive(self) -> dict[str, Any] | None:
        with translated(EngineError):
            return await self._process.receive()

    async def send(self, message: dict[str, Any]) -> None:
        with translated(EngineError):
            await self._process.send(message)

    async def close(self) -> None:
        await self._process.close()

    def last_words(self) -> str:
        return self._process.stderr()


class NodeLauncher:
    """Starts programs on the nodes of a cluster, by SSH or, on the driver, by a local process."""

    def __init__(self, cluster: Cluster, nodes: Sequence[Node]) -> None:
        self._cluster = cluster
        self._nodes = {node.name: node for node in nodes}

    async def start(self, host: Host, program: str, args: dict[str, Any]) -> _Process:
        """See `timeeval.engines.launching.Launcher`."""
        from provisioning.process import start

        # a guard is to outlive the login that starts it, whatever logind makes of that
        program = OUTLIVING if program == ATTACH else program
        with translated(EngineError):
            return _Process(await start(self._cluster, self._nodes[host.name], program, args))


def make_engine(
    cluster: Cluster,
    nodes: Sequence[Node],
    run_id: str,
    *,
    results_path: Path,
    remote: RemoteConfiguration | None = None,
    min_workers: int = 1,
    lease: float | None = None,
    slots: int | None = None,
    task: str = RUN_JOB,
    standings: Mapping[str, str] | None = None,
    speeds: Mapping[str, float] | None = None,
) -> DaskEngine:
    """Return the Dask engine for nodes of a cluster; nothing is started yet.

    Parameters
    ----------
    cluster : Cluster
        From `open_cluster`.
    nodes : sequence of Node
        From `choose`, behind the gate.
    run_id : str
        Mark of the run.
    results_path : Path
        Results folder on the driver; names the folder on the nodes, the same for every resumption.
    remote : RemoteConfiguration, optional
        What the script says.
    min_workers : int
        So many hosts must come up.
    lease : float, optional
        Seconds of silence after which nodes end the run's work.
    slots : int, optional
        Experiments at a time per host, instead of the cluster file's.
    task : str
        ``module:function`` that workers run.
    standings : mapping, optional
        What each node checks before an attempt, by its name.
    speeds : mapping, optional
        How fast each node computes relative to the usual one, by its name, where that was measured.

    Raises
    ------
    TimeEvalError
        If script and cluster file contradict each other.
    """
    ports = cluster.ports
    settings = DaskSettings(
        scheduler_port=ports.scheduler,
        worker_ports="0" if ports.workers is None else f"{ports.workers[0]}:{ports.workers[1]}",
    )
    if cluster.environment is not None and not cluster.environment.manage:
        # what others made stays as it is, byte for byte
        settings = replace(settings, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    if lease is not None:
        settings = replace(settings, lease=lease)
    results = remote_results(cluster, results_path)
    extra = _dedicated(cluster, remote)
    if remote is not None:
        wishes = wishes_of(remote, settings)
        for warning in wishes.warnings:
            logger.warning("%s", warning)
        settings = replace(wishes.settings, log_file=_log_file(results, remote))
        slots = slots or wishes.slots
        nodes = [_reached(node, wishes.connection) for node in nodes]
        extra = [_reached(node, wishes.connection) for node in extra]
    proven = standings or {}
    hosts = [
        replace(
            host_of(cluster, node, slots=slots),
            standing=proven.get(node.name, ""),
            speed=(speeds or {}).get(node.name, 1.0),
        )
        for node in nodes
    ]
    hosts += [host_of(cluster, node, slots=0) for node in extra]
    scheduler = scheduler_of(cluster, remote).name

    return DaskEngine(
        hosts,
        NodeLauncher(cluster, [*nodes, *extra]),
        run_id,
        scheduler=scheduler if scheduler in {host.name for host in hosts} else None,
        settings=settings,
        results=Path(results),
        min_workers=min_workers,
        task=task,
    )


def make_depot(
    cluster: Cluster, nodes: Sequence[Node], results_path: Path, remote: RemoteConfiguration | None = None
) -> ClusterDepot:
    """Return the way back of results from nodes of a cluster; nothing is connected yet.

    Parameters
    ----------
    cluster, nodes, results_path, remote
        As for `make_engine`.
    """
    results = remote_results(cluster, results_path)
    logs = {}
    if remote is not None:
        settings = DaskSettings(log_file=_log_file(results, remote))
        connection = wishes_of(remote, settings).connection
        nodes = [_reached(node, connection) for node in (*nodes, *_dedicated(cluster, remote))]
        logs = {node.name: settings.log_file_on(node.name) for node in nodes}
    return ClusterDepot(cluster, nodes, results, results_path, logs)


def _dedicated(cluster: Cluster, remote: RemoteConfiguration | None) -> list[Node]:
    """Return the host that only schedules, if there is one."""
    scheduler = scheduler_of(cluster, remote)
    return [] if any(node.name == scheduler.name for node in cluster.nodes) else [scheduler]


def _log_file(results: PurePosixPath, remote: RemoteConfiguration) -> str:
    return str(results / LOGS / Path(remote.dask_logging_filename).name)


def remote_results(cluster: Cluster, results_path: Path) -> PurePosixPath:
    """Return the folder on all nodes for what a run writes: the same for every resumption, no other driver's."""
    mark = hashlib.sha256(f"{socket.gethostname()}:{results_path.resolve()}".encode()).hexdigest()[:8]
    return cluster.results / f"{results_path.name}-{mark}"


def _reached(node: Node, connection: Mapping[str, Any]) -> Node:
    if not connection or node.is_driver:
        return node
    for key, value in connection.items():
        known = getattr(node, key)
        if known is not None and str(known) != str(value):
            raise TimeEvalError(
                f"the script reaches hosts with {key} {value}, the cluster file says {known}",
                host=node.name,
                remedy="Remove one of them",
            )
    changes = {**connection, "key": Path(connection["key"]).expanduser()} if "key" in connection else connection
    return replace(node, **changes)
