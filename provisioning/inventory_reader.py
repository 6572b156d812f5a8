"""From the text of a cluster file to a `Cluster`: ranges are expanded, defaults handed down, contradictions refused."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from provisioning.errors import UsageError
from provisioning.inventory import LOCAL, Cluster, DatasetFolder, Environment, Image, Limits, Node, Ports, Push
from provisioning.noderange import expand, fold

if TYPE_CHECKING:
    from provisioning.inventory_text import ClusterText, EnvironmentTable, Places

__all__ = ["Reader"]


class Reader:
    """Turns a parsed cluster file into a `Cluster`; each method reads one part of the file.

    Parameters
    ----------
    file : Path
        Absolute.
    text : ClusterText
    places : Places
    """

    def __init__(self, file: Path, text: ClusterText, places: Places) -> None:
        self.file = file
        self.text = text
        self.places = places

    def cluster(self) -> Cluster:
        """Check what no single key can tell, and make the cluster."""
        table = self.text.cluster
        names = self._names()
        nodes = tuple(self._node(name) for name in names)
        self._check_overrides(names)
        self._check_apart()
        environments = self._environments()
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
            environment=environments[0] if environments else None,
            environments=environments,
            images=self._images(),
            push=self._push(),
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
        own = self.text.host.get(name)
        key = (own and own.key) or table.key
        return Node(
            name=name,
            address=own.address if own else None,
            port=(own and own.port) or table.port,
            user=(own and own.user) or table.user,
            key=None if key is None else self._key(name, key),
            slots=(own and own.slots) or table.slots,
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
            own = self.text.host.get(LOCAL)
            return Node(
                name=LOCAL,
                address=own.address if own else None,
                slots=(own and own.slots) or self.text.cluster.slots,
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
            path = PurePosixPath(table.path)
            folders.append(DatasetFolder(source, path, table.index, group=table.group, mode=table.mode))
        return tuple(folders)

    def _environments(self) -> tuple[Environment, ...]:
        made: dict[str, Environment] = {}
        for number, table in enumerate(self.text.environment):
            if table.name in made:
                raise self.places.error(
                    f"two environments are named '{table.name}'",
                    *("environment", number),
                    remedy="give each a name; --environment chooses by it",
                )
            made[table.name] = self._environment(table, number)
        return tuple(made.values())

    def _environment(self, table: EnvironmentTable, number: int) -> Environment:
        key = ("environment", number)
        for position, project in enumerate(table.projects):
            folder = self._file(project, *key, "projects", position, folder=True)
            if not (folder / "pyproject.toml").is_file() and not (folder / "setup.py").is_file():
                raise self.places.error(f"{folder} has no pyproject.toml", *key, "projects", position)
        for position, text in enumerate(table.modules):
            place = self._path(text)
            if not place.is_dir() and (place.suffix != ".py" or not place.is_file()):
                message = f"there is no module (NAME.py) and no folder of modules {place} on this machine"
                raise self.places.error(message, *key, "modules", position)
        if table.modules and not table.manage:
            raise self.places.error(
                "modules are installed by create-envs, and nothing is written to an environment with manage = false",
                *key,
                "modules",
                remedy="make them a project, install it there yourself, and name it under projects",
            )
        if table.from_driver and table.requirements:
            raise self.places.error(
                "what the driver has and requirements contradict each other: say one of them", *key, "from_driver"
            )
        requirements = tuple(
            self._file(text, *key, "requirements", position) for position, text in enumerate(table.requirements)
        )
        for name in ("extras", "groups"):
            if getattr(table, name) and not any(file.name == "pyproject.toml" for file in requirements):
                raise self.places.error("needs a pyproject.toml among the requirements", *key, name)
        return Environment(
            prefix=PurePosixPath(table.prefix),
            python=table.python,
            requirements=requirements,
            projects=tuple(self._path(text) for text in table.projects),
            modules=tuple(self._path(text) for text in table.modules),
            manage=table.manage,
            name=table.name,
            extras=tuple(table.extras),
            groups=tuple(table.groups),
            from_driver=table.from_driver,
            python_from=self._file(table.python_from, *key, "python_from", folder=True) if table.python_from else None,
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

    def _push(self) -> Push:
        table = self.text.push
        if table.via == "registry" and table.registry is None:
            raise self.places.error("needs the key registry beside it", "push", "via")
        if table.via == "build" and not table.by_context:
            raise self.places.error(
                "makes images that are equal by context, not by content: allow it with by_context = true", "push", "via"
            )
        return Push(**table.model_dump())

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
        for number, environment in enumerate(self.text.environment):
            places.append((PurePosixPath(environment.prefix), ("environment", number, "prefix")))
        for position, (path, key) in enumerate(places):
            for other, _ in places[:position]:
                if path == other or path in other.parents or other in path.parents:
                    raise self.places.error(f"'{path}' and '{other}' lie in each other: give each its own folder", *key)


def _is_name(name: str) -> bool:
    return name[:1].isalnum() and name.isascii() and all(part.isalnum() or part in "._-" for part in name)
