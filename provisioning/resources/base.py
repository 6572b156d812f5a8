"""The four questions of a resource, and the facts that answers consist of.

A resource (the datasets, the environment, the images, ...) is one module that says what a node has (`observed`), what
it must have (`desired`), what lies between (`difference`) and how that is mended (`bring`, `settle`). Everything else -
order, concurrency, locks, dry run, reports - belongs to `provisioning.plan` and is the same for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from provisioning.errors import UsageError
from provisioning.node.tree import safe_path

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.manifest import Manifest

NEEDS_SCHEMA = "timeeval.needs/1"

Severity = Literal["error", "warning"]
Facts = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Node name -> resource name -> what that resource's program observed; only resources of this command are there."""

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that only a person can mend.

    Parameters
    ----------
    node : str
        Name of the node; the driver's name for what concerns the driver or the cluster file.
    resource : str
        Name of the resource that found it.
    message : str
        The thing and the cause.
    remedy : str
        What mends it, best as a command.
    severity : {"error", "warning"}
        An error keeps the resource of this node from being changed and the node from being verified.
    """

    node: str
    resource: str
    message: str
    remedy: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that we can mend.

    Parameters
    ----------
    node : str
        Name of the node.
    resource : str
        Name of the resource.
    title : str
        What is done, e.g. ``"copy 12 files to /srv/timeeval/data/nab"``.
    size : int
        Bytes that have to travel to this node.
    detail : mapping
        What the resource itself needs to carry it out; JSON values only.
    """

    node: str
    resource: str
    title: str
    size: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What lies between observed and desired on one node; empty means verified."""

    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing has to change and nothing stands in the way (warnings do not)."""
        return not self.changes and not self.blocked

    @property
    def blocked(self) -> bool:
        """Whether a finding forbids to change this resource on this node."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def size(self) -> int:
        """Bytes that have to travel to this node."""
        return sum(change.size for change in self.changes)


@dataclass(frozen=True, slots=True)
class DatasetNeed:
    """The datasets of one folder that an experiment reads.

    Parameters
    ----------
    path : PurePosixPath
        Folder of the datasets as the nodes see it.
    ids : tuple of (collection, dataset)
        The datasets.
    files : tuple of str
        Their files, relative to `path`, with forward slashes.
    """

    path: PurePosixPath
    ids: tuple[tuple[str, str], ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What one experiment needs of a node: the document ``timeeval.needs/1``."""

    datasets: tuple[DatasetNeed, ...] = ()
    images: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Needs:
        """Read the document that ``timeeval-run EXPERIMENT --needs`` prints.

        Parameters
        ----------
        text : str
            The JSON document.

        Returns
        -------
        Needs
            The needs; paths in them are checked to stay inside their folder.

        Raises
        ------
        UsageError
            When the text is no such document.
        """
        try:
            document = json.loads(text)
            if document["schema"] != NEEDS_SCHEMA:
                raise UsageError(
                    f"the needs have the schema {document['schema']!r}, this version reads {NEEDS_SCHEMA!r}",
                    remedy="install the same version of timeeval-cluster for both commands",
                )
            return cls(
                datasets=tuple(
                    DatasetNeed(
                        path=PurePosixPath(need["path"]),
                        ids=tuple((str(collection), str(dataset)) for collection, dataset in need["ids"]),
                        files=tuple(safe_path(file) for file in need["files"]),
                    )
                    for need in document.get("datasets", ())
                ),
                images=tuple(str(image) for image in document.get("images", ())),
                modules=tuple(str(module) for module in document.get("modules", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the needs of the experiment are not a {NEEDS_SCHEMA} document: {error!r}",
                remedy="run `timeeval-run EXPERIMENT --needs` and look at what it prints",
            ) from error


@dataclass(frozen=True, slots=True)
class Parcel:
    """A folder with a manifest that some nodes lack parts of; what `Resource.bring` hands to the transfer engine.

    Parameters
    ----------
    resource : str
        Name of the resource.
    source : Path
        Folder on the driver that holds the files of `manifest`.
    manifest : Manifest
        The files that the target holds afterwards (it may hold others as well; nothing is deleted).
    target : PurePosixPath
        Folder on the nodes, identical on all of them; created when missing.
    missing : mapping of str to tuple of str
        Node name -> the paths of `manifest` that this node lacks.
    last : tuple of str
        Paths that get their final name after all others, e.g. the index.
    mode : int
        Permission bits of the files; folders can be entered by who may read.
    group : str or None
        Group of the files; None leaves it as the system sets it.
    """

    resource: str
    source: Path
    manifest: Manifest
    target: PurePosixPath
    missing: Mapping[str, tuple[str, ...]]
    last: tuple[str, ...] = ()
    mode: int = 0o644
    group: str | None = None


D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Work(Generic[D]):
    """What one resource has to bring: the differences of the nodes with changes, none of them blocked."""

    cluster: Cluster
    desired: D
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Task(Generic[D]):
    """What one resource has to settle on one node: its difference, over an open connection to it."""

    session: Session
    cluster: Cluster
    node: Node
    difference: Difference
    desired: D


@runtime_checkable
class Renewable(Protocol):
    """A resource whose `desired` is read from files that may change while a command runs."""

    def renew(self) -> None:
        """Read them again when `desired` is asked next."""


@runtime_checkable
class Skeptical(Protocol):
    """A resource whose `desired` reads what nodes have answered: what one of them says must not stop the others."""

    def sensible(self, observed: Mapping[str, Any]) -> bool:
        """Return whether a node's answer holds what `desired` reads of it, as it was agreed."""


@runtime_checkable
class Closable(Protocol):
    """A resource that holds something open while a command runs."""

    def close(self) -> None:
        """End it; called once, when nothing more is settled."""


class Resource(Protocol[D]):
    """One kind of thing that must be equal on all nodes.

    Attributes
    ----------
    name : str
        One word, as people read it: ``"datasets"``.
    program : str
        Module of `provisioning.node` with ``observe(question: dict) -> dict``; the programs of all resources run inside
        one call per node. An exception there becomes a finding of this resource alone.
    """

    @property
    def name(self) -> str:
        """One word, as people read it."""

    @property
    def program(self) -> str:
        """Module of `provisioning.node` that observes."""

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return the folders on a node that `settle` writes to: they are locked, and may be one place on several nodes.

        `settle` runs once per place of these folders; with none it runs on every node that has changes. The targets of
        parcels need not be named.
        """

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Return the JSON object that the program gets; asked before anything is known of the node.

        A `ProvisionError` raised here concerns all nodes, as one of `desired` does.
        """

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> D:
        """Return what must be there, per target; may hash, lock or build on the driver.

        A `ProvisionError` raised here concerns all nodes: it is reported once and no node is changed.
        """

    def difference(self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: D) -> Difference:
        """Return what lies between the two on this node; reads nothing but its arguments."""

    def bring(self, work: Work[D]) -> Sequence[Parcel]:
        """Return the folders that have to travel; may build on the driver what they hold. The engine carries them."""

    def settle(self, task: Task[D], on_event: OnEvent) -> None:
        """Do what is left on this node after its parcels have arrived: switch, install, load.

        Must be resumable; leaves nothing half-written under a final name. Events carry
        ``{"title": str, "done": int, "total": int}`` and are shown while they come.
        """
