"""`cluster.toml` made into facts: the nodes, who the driver is, and what they must have.

Every other module sees a `Cluster` only; nobody else reads the file.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from provisioning.errors import UsageError
from provisioning.inventory_text import ClusterText, HostTable, Places, parse
from provisioning.noderange import expand, fold, split

__all__ = [
    "Cluster",
    "DatasetFolder",
    "Environment",
    "Image",
    "Limits",
    "Node",
    "Ports",
    "expand",
    "find",
    "fold",
    "load",
]

LOCAL = "local"


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
    """A folder with datasets on the driver (`source`) and its place on all nodes (`path`)."""

    source: Path
    path: PurePosixPath
    index: str = "datasets.csv"


@dataclass(frozen=True, slots=True)
class Environment:
    """The virtual environment of all nodes; with ``manage=False`` it is verified, never made."""

    prefix: PurePosixPath
    python: str
    requirements: tuple[Path, ...] = ()
    projects: tuple[Path, ...] = ()
    manage: bool = True


@dataclass(frozen=True, slots=True)
class Image:
    """An algorithm image, ``repository:tag``, with the folder it is built from, if it is built here."""

    name: str
    context: Path | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the run: 0 and None stand for any free ones."""

    scheduler: int = 0
    workers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Hosts at a time, uploads at a time, and time limits in seconds."""

    parallel: int = 32
    uploads: int = 8
    connect_timeout: int = 10
    command_timeout: int = 600


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
    images: tuple[Image, ...] = ()
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
    file = Path(path).expanduser().absolute()
    text, places = parse(file)
    return _Reader(file, text, places).cluster()


class _Reader:
    """Turns the parsed text into a `Cluster`; each method reads one part of the file."""

    def __init__(self, file: Path, text: ClusterText, places: Places) -> None:
        self.file = file
        self.text = text
        self.places = places

    def cluster(self) -> Cluster:
        table = self.text.cluster
        names = self._names()
        nodes = tuple(self._node(name) for name in names)
        self._check_overrides(names)
        self._check_apart()
        state = table.state or f"/var/tmp/timeeval-{table.user or getpass.getuser()}"  # noqa: S108 - made 0700 there
        return Cluster(
            name=table.name,
            file=self.file,
            nodes=nodes,
            driver=self._one("driver", table.driver, nodes),
            scheduler=self._one("scheduler", table.scheduler or names[0], nodes),
            results=PurePosixPath(table.results),
            state=PurePosixPath(state),
            ssh_config=self._file(table.ssh_config, "cluster", "ssh_config") if table.ssh_config else None,
            known_hosts=self._path(table.known_hosts),
            groups={group: self._group(group, names) for group in self.text.groups},
            datasets=self._datasets(),
            environment=self._environment(),
            images=self._images(),
            ports=Ports(**self.text.ports.model_dump()),
            limits=Limits(**self.text.limits.model_dump()),
        )

    def _path(self, text: str) -> Path:
        return self.file.parent / Path(text).expanduser()

    def _file(self, text: str, *key: str | int, folder: bool = False) -> Path:
        path = self._path(text)
        if not (path.is_dir() if folder else path.is_file()):
            kind = "folder" if folder else "file"
            raise self.places.error(f"there is no {kind} {path} on this machine", *key)
        return path

    def _expand(self, patterns: Sequence[str], *key: str | int) -> list[str]:
        try:
            return [name for pattern in patterns for name in expand(pattern)]
        except UsageError as error:
            raise self.places.error(error.message, *key, remedy=error.remedy) from error

    def _names(self) -> list[str]:
        table = self.text.cluster
        names = self._expand(table.hosts, "cluster", "hosts")
        excluded = self._expand(table.exclude, "cluster", "exclude")
        seen: set[str] = set()
        for name in names:
            if not _is_name(name):
                raise self.places.error(
                    f"'{name}' is not a host name", "cluster", "hosts", remedy="user and port are keys of their own"
                )
            if name in seen:
                raise self.places.error(f"'{name}' is named twice", "cluster", "hosts")
            seen.add(name)
        strangers = [name for name in excluded if name not in seen]
        if strangers:
            raise self.places.error(f"'{fold(strangers)}' is none of the hosts", "cluster", "exclude")
        left = [name for name in names if name not in set(excluded)]
        if not left:
            raise self.places.error("excludes every host", "cluster", "exclude")
        return left

    def _node(self, name: str) -> Node:
        table = self.text.cluster
        own = self.text.host.get(name, HostTable())
        key = own.key or table.key
        return Node(
            name=name,
            address=own.address,
            port=own.port or table.port,
            user=own.user or table.user,
            key=None if key is None else self._key(name, key),
            slots=own.slots or table.slots,
            is_driver=name == table.driver,
        )

    def _key(self, name: str, text: str) -> Path:
        own = name in self.text.host and self.text.host[name].key is not None
        return self._file(text, *(("host", name, "key") if own else ("cluster", "key")))

    def _one(self, role: str, name: str, nodes: Sequence[Node]) -> Node:
        for node in nodes:
            if node.name == name:
                return node
        if name == LOCAL:
            own = self.text.host.get(LOCAL, HostTable())
            return Node(
                name=LOCAL,
                address=own.address,
                slots=own.slots or self.text.cluster.slots,
                is_driver=self.text.cluster.driver == LOCAL,
            )
        allowed = f"'{LOCAL}' or one of {fold(node.name for node in nodes)}"
        raise self.places.error(f"'{name}' is not a host here; allowed: {allowed}", "cluster", role)

    def _check_overrides(self, names: Sequence[str]) -> None:
        table = self.text.cluster
        if table.scheduler == LOCAL and table.driver != LOCAL:
            raise self.places.error(f"write the driver's name, '{table.driver}'", "cluster", "scheduler")
        allowed = {*names, *self._expand(table.exclude), LOCAL}
        for name in self.text.host:
            if name not in allowed:
                raise self.places.error(f"is not a host here; allowed: {fold(names)}", "host", name)

    def _group(self, group: str, names: Sequence[str]) -> tuple[str, ...]:
        members = self._expand(self.text.groups[group], "groups", group)
        excluded = set(self._expand(self.text.cluster.exclude))
        unknown = [name for name in members if name not in names and name not in excluded]
        if unknown:
            raise self.places.error(f"'{fold(unknown)}' is none of the hosts {fold(names)}", "groups", group)
        return tuple(dict.fromkeys(name for name in members if name not in excluded))

    def _datasets(self) -> tuple[DatasetFolder, ...]:
        folders = []
        for number, table in enumerate(self.text.datasets):
            source = self._file(table.source, "datasets", number, "source", folder=True)
            if not (source / table.index).is_file():
                raise self.places.error(f"there is no {table.index} in {source}", "datasets", number, "source")
            folders.append(DatasetFolder(source=source, path=PurePosixPath(table.path), index=table.index))
        return tuple(folders)

    def _environment(self) -> Environment | None:
        table = self.text.environment
        if table is None:
            return None
        for number, project in enumerate(table.projects):
            folder = self._file(project, "environment", "projects", number, folder=True)
            if not (folder / "pyproject.toml").is_file() and not (folder / "setup.py").is_file():
                raise self.places.error(f"{folder} has no pyproject.toml", "environment", "projects", number)
        return Environment(
            prefix=PurePosixPath(table.prefix),
            python=table.python,
            requirements=tuple(
                self._file(text, "environment", "requirements", number)
                for number, text in enumerate(table.requirements)
            ),
            projects=tuple(self._path(text) for text in table.projects),
            manage=table.manage,
        )

    def _images(self) -> tuple[Image, ...]:
        images: dict[str, Image] = {}
        for number, table in enumerate(self.text.images):
            name = table.name if ":" in table.name.rpartition("/")[2] else f"{table.name}:latest"
            if name in images:
                raise self.places.error(f"'{name}' is named twice", "images", number, "name")
            context = None
            if table.context is not None:
                context = self._file(table.context, "images", number, "context", folder=True)
                if not (context / "Dockerfile").is_file():
                    raise self.places.error(f"there is no Dockerfile in {context}", "images", number, "context")
            images[name] = Image(name=name, context=context)
        return tuple(images.values())

    def _check_apart(self) -> None:
        """Refuse folders inside of each other: what manages one would then own a part of the other."""
        table = self.text.cluster
        places: list[tuple[PurePosixPath, tuple[str | int, ...]]] = [
            (PurePosixPath(table.results), ("cluster", "results"))
        ]
        if table.state is not None:
            places.append((PurePosixPath(table.state), ("cluster", "state")))
        for number, dataset in enumerate(self.text.datasets):
            places.append((PurePosixPath(dataset.path), ("datasets", number, "path")))
        if self.text.environment is not None:
            places.append((PurePosixPath(self.text.environment.prefix), ("environment", "prefix")))
        for position, (path, key) in enumerate(places):
            for other, _ in places[:position]:
                if path == other or path in other.parents or other in path.parents:
                    raise self.places.error(f"'{path}' and '{other}' lie in each other: give each its own folder", *key)


def _is_name(name: str) -> bool:
    return name[:1].isalnum() and name.isascii() and all(part.isalnum() or part in "._-" for part in name)
