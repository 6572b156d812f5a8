"""`cluster.toml` made into facts: the nodes, who the driver is, and what they must have.

Every other module sees a `Cluster` only; nobody else reads the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from provisioning.errors import UsageError
from provisioning.noderange import expand, fold, split

__all__ = [
    "Cluster",
    "DatasetFolder",
    "Environment",
    "Image",
    "Limits",
    "Node",
    "Ports",
    "Push",
    "expand",
    "find",
    "fold",
    "load",
]

LOCAL = "local"
"""Name of this machine where it is none of the hosts."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine.

    Attributes
    ----------
    name : str
        As written in the cluster file; what ssh looks up in its configuration.
    address, port, user, key
        What the cluster file says over the ssh configuration; None where it says nothing.
    slots : int
        Experiments at a time.
    is_driver : bool
        This very machine: reached by a local process, never by SSH.
    """

    name: str
    address: str | None = None
    port: int | None = None
    user: str | None = None
    key: Path | None = None
    slots: int = 1
    is_driver: bool = False


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A folder with datasets on the driver (`source`) and its place on all nodes (`path`).

    `group` and `mode` (permission bits) are what files get there; folders can be entered by who may read.
    """

    source: Path
    path: PurePosixPath
    index: str = "datasets.csv"
    group: str | None = None
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of all nodes; with ``manage=False`` it is verified, never made.

    Attributes
    ----------
    prefix : PurePosixPath
        Its folder, the same on all nodes.
    python : str
        Minor version of its interpreter.
    requirements : tuple of Path
        Requirements files, locks, and ``pyproject.toml`` files.
    projects : tuple of Path
        Folders of local projects that travel as wheels.
    name : str
        What ``--environment`` calls it.
    extras, groups : tuple of str
        Optional dependencies and dependency groups that are wanted of the ``pyproject.toml`` files.
    from_driver : bool
        Whether it is to have what the driver's own environment has.
    python_from : Path or None
        Folder on the driver with a relocatable interpreter that travels; None where nodes have their own.
    modules : tuple of Path
        Modules and packages that belong to no project; they travel as wheels too.
    """

    prefix: PurePosixPath
    python: str
    requirements: tuple[Path, ...] = ()
    projects: tuple[Path, ...] = ()
    manage: bool = True
    name: str = "default"
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    from_driver: bool = False
    python_from: Path | None = None
    modules: tuple[Path, ...] = ()

    def adoption(self, state: PurePosixPath) -> list[str] | None:
        """Give what a look needs when others made it: minor version and where digests are noted; else None."""
        if self.manage:
            return None
        mark = hashlib.sha256(str(self.prefix).encode()).hexdigest()[:16]
        return [self.python, str(state / "adopted" / f"{mark}.json")]


@dataclass(frozen=True, slots=True)
class Image:
    """An algorithm image, ``repository:tag``, with the folder it is built from, if it is built here."""

    name: str
    context: Path | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """How images reach the nodes, unless ``--via`` says it for one command.

    Attributes
    ----------
    via : {"load", "build", "registry", "own-registry"}
    registry : str or None
        ``HOST:PORT`` that all machines reach under this name, for ``via = "registry"``.
    by_context : bool
        Whether an image may be used that a node built itself: equal by context, not by content.
    """

    via: str = "load"
    registry: str | None = None
    by_context: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the run: 0 and None stand for any free ones."""

    scheduler: int = 0
    workers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Hosts at a time, uploads at a time, time limits in seconds, and GiB of image layers kept on each machine."""

    parallel: int = 32
    uploads: int = 8
    connect_timeout: int = 10
    command_timeout: int = 600
    layer_store: int = 16


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that a cluster file says, checked.

    Attributes
    ----------
    file : Path
        Absolute path of the cluster file.
    nodes : tuple of Node
        The hosts that run experiments, in the order of the file.
    driver : Node
        This machine; one of `nodes`, or a node named ``local`` beside them.
    scheduler : Node
        Where the Dask scheduler runs.
    results, state : PurePosixPath
        Folders on every node.
    environment : Environment or None
        The one that runs use; the first of `environments` unless `using` chose another.
    """

    name: str
    file: Path
    nodes: tuple[Node, ...]
    driver: Node
    scheduler: Node
    results: PurePosixPath
    state: PurePosixPath
    known_hosts: Path
    ssh_config: Path | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    datasets: tuple[DatasetFolder, ...] = ()
    environment: Environment | None = None
    environments: tuple[Environment, ...] = ()
    images: tuple[Image, ...] = ()
    push: Push = Push()
    ports: Ports = Ports()
    limits: Limits = Limits()

    def node(self, name: str) -> Node:
        """Give the node of that name, the driver and the scheduler included.

        Raises
        ------
        UsageError
            When there is none.
        """
        for node in (*self.nodes, self.scheduler, self.driver):
            if node.name == name:
                return node
        raise UsageError(f"{self.file} has no host '{name}'", remedy=f"its hosts: {self._names()}")

    def using(self, environment: str | None) -> Cluster:
        """Give this cluster with another of its environments as the one that runs use; None leaves it as it is.

        Raises
        ------
        UsageError
            When there is none of that name.
        """
        if environment is None:
            return self
        for other in self.environments:
            if other.name == environment:
                return replace(self, environment=other)
        names = ", ".join(other.name for other in self.environments) or "none"
        raise UsageError(f"{self.file} has no environment '{environment}'", remedy=f"its environments: {names}")

    @property
    def variant(self) -> str:
        """Name of the environment that was chosen over the first one; "" where the first is used."""
        if self.environment is None or not self.environments or self.environment is self.environments[0]:
            return ""
        return self.environment.name

    def select(self, limit: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[Node, ...]:
        """Nodes that ``--limit`` and ``--exclude`` leave, in the order of the file.

        Parameters
        ----------
        limit, exclude : sequence of str
            Names, ranges (``node[01-04].lab``), groups (``@fast``), or several of these with commas between.
            An empty `limit` stands for all nodes.

        Returns
        -------
        tuple of Node

        Raises
        ------
        UsageError
            When a name is unknown or nothing is left.
        """
        wanted = self._members(limit) if limit else {node.name for node in self.nodes}
        wanted -= self._members(exclude)
        chosen = tuple(node for node in self.nodes if node.name in wanted)
        if not chosen:
            raise UsageError("no host is left by --limit and --exclude", remedy=f"hosts: {self._names()}")
        return chosen

    def _members(self, patterns: Sequence[str]) -> set[str]:
        known = {node.name for node in self.nodes}
        members: set[str] = set()
        for pattern in (part for text in patterns for part in split(text)):
            if pattern.startswith("@"):
                if pattern[1:] not in self.groups:
                    groups = ", ".join(f"@{group}" for group in self.groups) or "none"
                    raise UsageError(f"{self.file} has no group '{pattern}'", remedy=f"its groups: {groups}")
                members.update(self.groups[pattern[1:]])
                continue
            names = expand(pattern)
            unknown = [name for name in names if name not in known]
            if unknown:
                raise UsageError(f"{self.file} has no host '{fold(unknown)}'", remedy=f"its hosts: {self._names()}")
            members.update(names)
        return members

    def _names(self) -> str:
        return fold(node.name for node in self.nodes)


def find(start: Path) -> Path | None:
    """Nearest ``cluster.toml`` in a folder or above it.

    Parameters
    ----------
    start : Path
        Folder to begin with.

    Returns
    -------
    Path or None
    """
    start = start.resolve()
    return next((file for folder in (start, *start.parents) if (file := folder / "cluster.toml").is_file()), None)


def load(path: Path) -> Cluster:
    """Read and check a cluster file. Nothing is asked of any node.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Cluster

    Raises
    ------
    InventoryError
        With file, line, key, the cause and what is allowed.
    """
    # Late, each of them: pydantic takes longer to load than a command takes that finds nothing to do.
    from provisioning.inventory_known import WantsPlacesError, keep, recall
    from provisioning.inventory_reader import Reader

    file = Path(path).expanduser().absolute()
    known = recall(file)
    if known is not None:
        try:
            return Reader(file, *known).cluster()
        except WantsPlacesError:
            pass
    from provisioning.inventory_text import parse

    text, places = parse(file)
    cluster = Reader(file, text, places).cluster()
    keep(file, text)
    return cluster
