"""What was proven of a node, and when: the receipt that `verify` writes and that a run asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import ProvisionError
from provisioning.node import tree
from provisioning.node.docker import plain

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.resources.base import Needs

SCHEMA = "timeeval.receipt/1"
BY_CONTEXT = "context:"
BY_CONTENT = "content:"
Row = tuple[str, int, int, int, int]
"""``(sha256, size, mtime_ns, inode, ctime_ns)`` of a file."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A dataset folder as it was proven by digest.

    Attributes
    ----------
    digest : str
        Sha256 (hex) of the manifest of what was proven.
    files : mapping
        Path in the folder -> (sha256, size, mtime_ns, inode, ctime_ns) on that node.
    """

    digest: str
    files: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof of one node.

    Attributes
    ----------
    cluster, node : str
        Names in the cluster file.
    time : float
        When it was written, Unix seconds of the driver.
    tool : str
        Version of this software.
    machine_id, boot_id, kernel, machine, libc : str
        Which machine it was, and since which start.
    clock_offset : float
        Seconds by which the node's clock was ahead of the driver's.
    python, prefix, lock, environment : str or None
        Version of the interpreter, and prefix, lock digest and identity (by RECORD) of the environment.
    docker : mapping or None
        ``version`` and ``store`` of its engine.
    datasets : mapping
        Folder on the node -> what was proven of it.
    images : mapping
        Name -> id by which the node's engine starts it.
    equal_by : mapping
        Name -> what the image has in common with those of the driver and of other nodes: ``content:DIGEST`` of its
        layers and configuration, or only ``context:DIGEST`` of what it was built of there.
    modules : tuple of str
        Top-level modules of the environment's packages, and those that an experiment asked to be imported.
    worker : mapping
        What a real Dask worker there said of itself.
    records : mapping
        Path of the RECORD of each installed package -> (sha256, size, mtime_ns, inode, ctime_ns) on that node.
    """

    cluster: str
    node: str
    time: float
    tool: str
    machine_id: str
    boot_id: str
    kernel: str
    machine: str
    libc: str
    clock_offset: float
    python: str | None
    prefix: str | None
    lock: str | None
    environment: str | None
    docker: Mapping[str, str] | None
    datasets: Mapping[str, Proven]
    images: Mapping[str, str]
    modules: tuple[str, ...] = ()
    worker: Mapping[str, Any] | None = None
    records: Mapping[str, Row] = field(default_factory=dict)
    equal_by: Mapping[str, str] = field(default_factory=dict)

    def common(self, name: str) -> str:
        """Return what an image has in common with those of other nodes (see `equal_by`); "" if that is unknown."""
        return next((known for other, known in self.equal_by.items() if plain(other) == _tagged(name)), "")

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as a JSON document."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, document: object) -> Receipt:
        """Read a receipt.

        Raises
        ------
        ValueError
            When it is none, or one of another version of the format.
        """
        if not isinstance(document, Mapping):
            raise ValueError(f"it is a {type(document).__name__}, not an object")
        if document.get("schema") != SCHEMA:
            raise ValueError(f"the schema is {document.get('schema')!r}, not {SCHEMA!r}")
        fields = {name: value for name, value in document.items() if name != "schema"}
        try:
            fields["datasets"] = {
                folder: Proven(proven["digest"], _rows(proven["files"]))
                for folder, proven in fields["datasets"].items()
            }
            fields["records"] = _rows(fields["records"])
            return cls(**{**fields, "modules": tuple(fields["modules"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a receipt: {error!r}") from error


def _rows(rows: Mapping[str, Sequence[Any]]) -> dict[str, Row]:
    return {path: (digest, size, mtime, inode, ctime) for path, (digest, size, mtime, inode, ctime) in rows.items()}


def folder(cluster: Cluster) -> Path:
    """Return the folder of receipts on the driver; those of another environment than the first have their own."""
    return cluster.file.parent / ".timeeval" / cluster.name / "receipts" / cluster.variant


def place_on_node(cluster: Cluster, node: Node) -> PurePosixPath:
    """Return the path of a node's receipt on itself; with its name in it, for the folder may be shared."""
    return cluster.state / "receipts" / cluster.variant / f"{node.name}.json"


def save(cluster: Cluster, receipt: Receipt) -> None:
    """Write a receipt on the driver, atomically."""
    file = folder(cluster) / f"{receipt.node}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    tree.write_json(str(file), receipt.to_json(), 0o600)


def withdraw(cluster: Cluster, node: Node) -> None:
    """Take a receipt back: what it proves is not there any more."""
    (folder(cluster) / f"{node.name}.json").unlink(missing_ok=True)


def load(cluster: Cluster, node: Node) -> Receipt | None:
    """Return the receipt of a node; None when it has none.

    Raises
    ------
    ProvisionError
        When the file is damaged or of another version.
    """
    file = folder(cluster) / f"{node.name}.json"
    try:
        return Receipt.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ProvisionError(
            f"the receipt {file} cannot be read: {error}",
            host=node.name,
            remedy=f"timeeval-provision verify --cluster {cluster.file} --limit {node.name}",
        ) from error


def readable(cluster: Cluster, node: Node) -> tuple[Receipt | None, str]:
    """Return the receipt of a node as `load`, or None and why its file cannot be read: then it proves nothing."""
    try:
        return load(cluster, node), ""
    except ProvisionError as error:
        return None, f"{error.message}; {error.remedy}"


def placed(cluster: Cluster, needs: Needs) -> Needs:
    """Return needs with the folders as nodes have them: a script may name the driver's source of a folder."""
    places = {folder.source.resolve(): folder.path for folder in cluster.datasets}
    return replace(
        needs,
        datasets=tuple(
            need
            if need.path in places.values()
            else replace(need, path=places.get(Path(need.path).resolve(), need.path))
            for need in needs.datasets
        ),
    )


def covers(receipt: Receipt, needs: Needs) -> list[str]:
    """Return what an experiment needs and a receipt does not prove; the folders are those of `placed`.

    Parameters
    ----------
    receipt : Receipt
    needs : Needs

    Returns
    -------
    list of str
        A line each; empty when everything is proven.
    """
    lines = [] if receipt.environment else ["the environment was not verified"]
    for need in needs.datasets:
        proven = receipt.datasets.get(str(need.path))
        missing = need.files if proven is None else tuple(file for file in need.files if file not in proven.files)
        if missing:
            lines.append(f"datasets in {need.path} were not verified: {_some(missing)}")
    images = {plain(name) for name in receipt.images}
    lacking = [name for name in needs.images if _tagged(name) not in images]
    if lacking:
        lines.append(f"images were not verified: {_some(lacking)}")
    modules = [name for name in needs.modules if name not in receipt.modules]
    if modules:
        lines.append(
            f"the environment has no module {_some(modules)}: name what provides it in [environment] requirements of "
            "the cluster file, your own project in projects, or your own module in modules"
        )
    return lines


def image_id(receipt: Receipt, name: str) -> str | None:
    """Return the id by which a node starts an image, whichever way its name is written; None when it is not proven."""
    return next((known for other, known in receipt.images.items() if plain(other) == _tagged(name)), None)


def by_context(receipt: Receipt, names: Sequence[str]) -> list[str]:
    """Return which of these images a node built itself: they were proven equal by context, not by content."""
    return [name for name in names if receipt.common(name).startswith(BY_CONTEXT)]


def _tagged(name: str) -> str:
    return plain(name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest")


def question(cluster: Cluster, files: Mapping[str, Sequence[str]], images: Sequence[str]) -> dict[str, Any]:
    """Return what `provisioning.node.look` is asked."""
    environment = cluster.environment
    return {
        "prefix": None if environment is None else str(environment.prefix),
        "adopted": None if environment is None else environment.adoption(cluster.state),
        "files": {where: list(paths) for where, paths in files.items()},
        "images": list(images),
    }


def disagreements(receipt: Receipt, seen: Mapping[str, Any]) -> list[str]:
    """Return what has changed since a receipt was written, by an answer of `provisioning.node.look`; a line each."""
    lines = []
    if seen["machine_id"] != receipt.machine_id:
        lines.append("it is another machine than the one that was verified")
    elif seen["boot_id"] != receipt.boot_id:
        lines.append("it was started anew after it was verified")
    environment = seen["environment"]
    if environment is not None:
        if environment["identity"] != receipt.environment:
            lines.append(f"the packages in {receipt.prefix} are not the ones that were verified")
        elif environment["edited"]:
            lines.append(f"{receipt.prefix}: {'; '.join(environment['edited'][:2])}")
    for where, stamps in seen["files"].items():
        proven = receipt.datasets[where].files
        # Who only touches or links a file changes its ctime as well; each attempt has such a file read again.
        changed = [path for path, now in stamps.items() if now is None or tuple(now[:3]) != tuple(proven[path][1:4])]
        if changed:
            lines.append(f"files in {where} changed after they were verified: {_some(changed)}")
    if seen["why"]:
        lines.append(seen["why"])
    else:
        other = [name for name, found in seen["images"].items() if found != image_id(receipt, name)]
        if other:
            lines.append(f"images are not the ones that were verified: {_some(other)}")
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
