"""Where runs of a script take place: the engine, the results folder, and what is to be done again.

`timeeval-run` opens a session and runs the script inside it; without one, each `TimeEval` decides from its own
arguments.
"""

from __future__ import annotations

import contextlib
import getpass
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeeval.errors import EngineError, ResultsError, TimeEvalError
from timeeval.run.collected import Collect
from timeeval.run.journal import FILE_NAME
from timeeval.run.policy import Policy

if TYPE_CHECKING:
    from timeeval.engines.base import Engine
    from timeeval.engines.joined_link import Scheduler
    from timeeval.remote_configuration import RemoteConfiguration
    from timeeval.resource_constraints import ResourceConstraints
    from timeeval.run.collecting import Depot
    from timeeval.run.model import Outcome

CLUSTER_FILE = "cluster.toml"


@dataclass(frozen=True, slots=True)
class Request:
    """What a run asks of the place it is to be computed at.

    Attributes
    ----------
    run_id : str
        Mark of its processes and containers.
    results_path : Path
        Results folder on the driver.
    needs : mapping
        The document ``timeeval.needs/1``.
    distributed : bool
        Whether the script asked for a distributed evaluation.
    slots : int
        Experiments at a time on this machine (``n_jobs``); -1: one per core.
    remote_config : RemoteConfiguration, optional
        Hosts that the script names.
    resource_constraints : ResourceConstraints
        Limits that the script names.
    """

    run_id: str
    results_path: Path
    needs: Mapping[str, Any]
    distributed: bool
    slots: int
    remote_config: RemoteConfiguration | None
    resource_constraints: ResourceConstraints


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is computed, and what is proven of it.

    Attributes
    ----------
    engine : Engine
        Not started yet.
    remote : bool
        Whether hosts have to be prepared by jobs; this machine is prepared by this process.
    image_ids : mapping of str to str, optional
        Proven image identity by ``name:tag``; None without a gate.
    data_digests : mapping of Path to str
        Proven SHA-256 of dataset files.
    proof : mapping, optional
        What the gate saw, for ``run.json``.
    policy : Policy
        Bounds for retries.
    locate : callable, optional
        Where a dataset file of the script lies on the machines that compute.
    observe : callable, optional
        Looks at the place when it is prepared and gives it back with what was seen; only this machine needs that, a
        cluster was looked at before.
    depot : Depot, optional
        The hosts' own copies of results; None if the engine writes into the results folder itself.
    origin : mapping, optional
        Where the hosts keep their copies, for ``run.json``.
    hosts : mapping
        What is known of each host beside its proof, for ``run.json``.
    """

    engine: Engine
    remote: bool = False
    image_ids: Mapping[str, str] | None = None
    data_digests: Mapping[Path, str] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    policy: Policy = field(default_factory=Policy)
    locate: Callable[[Path], Path] | None = None
    observe: Callable[[], Place] | None = None
    depot: Depot | None = None
    origin: Mapping[str, str] | None = None
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of the session that ended."""

    number: int
    results_path: Path
    outcomes: Mapping[str, int]
    reason: str


Locate = Callable[[Request], Place]


@dataclass
class Session:
    """What the command line says of all runs of one script.

    Attributes
    ----------
    locate : callable
        Gives the place of a run.
    results : Path, optional
        Replaces the results path of the script.
    resume : Path, optional
        Results folder of the first run, to be completed.
    retry : frozenset of Outcome
        Outcomes that are due again.
    needs_only : bool
        Only find out what runs need; nothing is computed.
    on_claim, on_up : callable
        Told the results folder of a run when its journal is this process' own, and when its hosts are up.
    collect : Collect
        How much of what experiments write on hosts travels to this machine.
    """

    locate: Locate
    results: Path | None = None
    resume: Path | None = None
    retry: frozenset[Outcome] = frozenset()
    needs_only: bool = False
    on_claim: Callable[[Path], None] = field(default=lambda _folder: None)
    on_up: Callable[[Path], None] = field(default=lambda _folder: None)
    collect: Collect = Collect.ALL
    needs: list[Mapping[str, Any]] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    count: int = 0
    first: Path | None = None

    def folder(self, results_path: Path) -> tuple[Path, int]:
        """Return the results folder of the next run, created, and the run's number.

        The first run has a folder with the time in its name (or the one that is resumed), the n-th one beside it the
        same name and ``-n``; so a resumed script finds each run's folder again.

        Raises
        ------
        TimeEvalError
            If the folder to be resumed is none.
        """
        self.count += 1
        base = (self.results or results_path).resolve()
        if self.count == 1 or self.first is None:
            self.first = self._first(base)
            return self.first, self.count
        beside = self.first.with_name(f"{self.first.name}-{self.count}")
        path = beside if self.resume is not None and beside.exists() else base / beside.name
        path.mkdir(parents=True, exist_ok=True)
        return path, self.count

    def _first(self, base: Path) -> Path:
        if self.resume is None:
            return new_folder(base)
        path = self.resume.resolve()
        if not (path / FILE_NAME).is_file():
            raise TimeEvalError(
                f"{path} cannot be resumed: it holds no {FILE_NAME}",
                remedy="Name the folder with the date in its name that an earlier run wrote",
            )
        return path


_current: list[Session] = []


def current() -> Session | None:
    """Return the session this process runs in, None outside of `timeeval-run`."""
    return _current[-1] if _current else None


@contextlib.contextmanager
def opened(session: Session) -> Iterator[Session]:
    """Make a session the current one."""
    _current.append(session)
    try:
        yield session
    finally:
        _current.remove(session)


def new_folder(base: Path) -> Path:
    """Create a results folder named by the local time; two of the same second get different ones."""
    name = datetime.now().strftime("%Y_%m_%d_%H_%M_%S")  # noqa: DTZ005 - local time, as TimeEval 1.5 names them
    try:
        base.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            path = base / (name if number == 1 else f"{name}_{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except OSError as error:
        raise ResultsError(
            f"no results folder can be made in {base}: {error.strerror}",
            remedy="Name another with --results, or make that one yours",
        ) from error
    raise TimeEvalError(f"{base} has a thousand results folders of this second", remedy="Name another results path")


def new_run_id() -> str:
    """Return a name for a run that no other run has."""
    return f"r{secrets.token_hex(6)}"


def local_place(request: Request) -> Place:
    """Compute on this machine: a distributed evaluation on a local Dask cluster, any other in processes."""
    from timeeval.engines.local import LocalEngine, usable_cores

    if request.distributed:
        slots = usable_cores() if request.slots == -1 else request.slots
        return _observed_later(request, Policy(), lambda standing: _local_dask(request.run_id, slots, standing))
    # there is no other host to try: what the machinery breaks once is broken, and none is waited for
    policy = Policy(infra_retries=0, host_failures=1_000_000_000, patience=0.0)
    return _observed_later(request, policy, lambda standing: LocalEngine(request.slots, standing))


def _observed_later(request: Request, policy: Policy, make_engine: Callable[[str], Engine]) -> Place:
    def observe() -> Place:
        from timeeval.cluster.observing import this_machine

        proof = this_machine(socket.gethostname(), request.needs)
        (standing,) = proof.standings.values()
        engine = make_engine(standing)
        return Place(
            engine,
            hosts={socket.gethostname(): {"threads": dict(engine.threads)}},
            image_ids=proof.image_ids,
            data_digests=proof.data_digests,
            proof=proof.to_json(),
            policy=policy,
        )

    return Place(make_engine(""), policy=policy, observe=observe)


def _local_dask(run_id: str, slots: int, standing: str) -> Engine:
    from timeeval.engines.dask_engine import DaskEngine
    from timeeval.engines.launching import Host, LocalLauncher

    state = Path("/var/tmp") / f"timeeval-{getpass.getuser()}"  # noqa: S108 - 0700 below, as on a cluster's nodes
    host = Host(socket.gethostname(), slots, ("127.0.0.1",), sys.executable, str(state), standing)
    return DaskEngine([host], LocalLauncher(), run_id)


def default_place(request: Request) -> Place:
    """Return the place that a script's own arguments ask for, without a session.

    Raises
    ------
    EngineError
        If a distributed run finds no ``cluster.toml``.
    """
    if not request.distributed:
        return local_place(request)
    path = nearest_cluster_file()
    if path is None:
        raise EngineError(
            f"a distributed evaluation needs a cluster, and no {CLUSTER_FILE} was found in the script's or the working "
            "directory or above",
            remedy="Run `timeeval-provision init HOST...` and `timeeval-provision up`, then "
            f"`timeeval-run SCRIPT --cluster {CLUSTER_FILE}`; or use `timeeval-run SCRIPT --local`",
        )
    return cluster_place(path)(request)


def cluster_place(path: Path, **options: Any) -> Locate:  # noqa: ANN401 - handed on to timeeval.cluster
    """Return a function that gives the place of a run on the cluster of a file, behind its gate."""

    def locate(request: Request) -> Place:
        from timeeval.cluster import place

        return place(path, request, **options)

    return locate


def joined_place(scheduler: Scheduler, **options: Any) -> Locate:  # noqa: ANN401 - handed on to timeeval.cluster
    """Return a function that gives the place of a run on the workers of a scheduler that somebody else runs."""

    def locate(request: Request) -> Place:
        from timeeval.cluster.joining import join

        return join(scheduler, request, **options)

    return locate


def read_sources_of(cluster_file: Path) -> None:
    """Let datasets be read from the cluster file's ``source`` folders where their path is not on this machine."""
    from timeeval.cluster import dataset_sources
    from timeeval.datasets.locations import set_locations

    set_locations({str(path): source for path, source in dataset_sources(cluster_file).items()})


def nearest_cluster_file() -> Path | None:
    """Return the first ``cluster.toml`` from the script's folder upwards, then from the working directory upwards."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    starts = ([Path(script).resolve().parent] if script else []) + [Path.cwd()]
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / CLUSTER_FILE).is_file():
                return folder / CLUSTER_FILE
    return None
