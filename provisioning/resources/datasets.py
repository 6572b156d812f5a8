"""The dataset folders: the same bytes under the same path on every node, and an environment that can read them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import ChangedError, UsageError
from provisioning.kept import cache_folder
from provisioning.node.tree import part_digests, parted
from provisioning.resources.base import Change, Difference, Facts, Finding, Needs, OnEvent, Parcel, Task, Work
from provisioning.scan import glanced, scan

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, DatasetFolder, Node
    from provisioning.manifest import Entry, Manifest

SHOWN = 5
PARTS = 8
"""Of a folder, at most, that are compared each by itself: their digests travel also when nothing has changed."""

PART = 64
"""Files, about, that a part has at least."""


class Content:
    """What must be in a folder: files, and the datasets among them."""

    def __init__(self, manifest: Manifest, ids: tuple[tuple[str, str], ...], parts: int) -> None:
        self.manifest = manifest
        self.ids = ids
        self._parts = parts

    @cached_property
    def parts(self) -> list[list[Entry]]:
        """The files of each part: every node is compared by them."""
        return parted(((entry.path, entry) for entry in self.manifest.entries), self._parts)


@dataclass(frozen=True, slots=True)
class Folder:
    """A dataset folder, what of it must be on the nodes, and the datasets that must be readable there.

    Attributes
    ----------
    folder : DatasetFolder
    whole : bool
        Whether all of it is meant.
    digest : str
    parts : tuple of str
        Digests of its parts.
    content : callable
        Gives its manifest and its datasets, which nobody needs where nothing has changed.
    """

    folder: DatasetFolder
    whole: bool
    digest: str
    parts: tuple[str, ...]
    content: Callable[[], Content]

    @property
    def manifest(self) -> Manifest:
        """Its files."""
        return self.content().manifest

    @property
    def ids(self) -> tuple[tuple[str, str], ...]:
        """Its datasets."""
        return self.content().ids


class Datasets:
    """Dataset folders of the cluster file, all of them or what an experiment needs.

    Parameters
    ----------
    cache : Path or None
        Folder of known digests; the user's cache folder when None.
    delete : bool
        Whether files that we put on a node go when the source no longer has them.
    on_event : callable or None
        Progress of reading on the driver.
    """

    name = "datasets"
    program = "provisioning.node.observe_datasets"

    def __init__(self, cache: Path | None = None, *, delete: bool = False, on_event: OnEvent | None = None) -> None:
        self._cache = cache
        self._delete = delete
        self._on_event = on_event
        self._desired: dict[tuple[Path, Needs | None], tuple[Folder, ...]] = {}

    def renew(self) -> None:
        """Read the folders again when they are asked for next."""
        self._desired = {}

    def folders(self, cluster: Cluster) -> Sequence[PurePosixPath]:
        """Return none: what is settled, the proof of reading, is each node's own."""
        del cluster
        return ()

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        """Ask for the folders by digest."""
        return {
            "python": _python(cluster),
            "proofs": str(_proofs(cluster, node)),
            "folders": [
                {
                    "path": str(folder.folder.path),
                    "digest": folder.digest,
                    "parts": folder.parts,
                    "files": None if folder.whole else _digests(folder.manifest),
                }
                for folder in self.desired(cluster, {}, needs)
            ],
        }

    def desired(self, cluster: Cluster, facts: Facts, needs: Needs | None) -> tuple[Folder, ...]:
        """Return the folders with the digests of their files; every node gets the same."""
        del facts
        key = (cluster.file, needs)
        if key not in self._desired:
            self._desired[key] = tuple(self._select(cluster, needs))
        return self._desired[key]

    def _select(self, cluster: Cluster, needs: Needs | None) -> list[Folder]:
        if needs is None:
            return [self._folder(folder, None) for folder in cluster.datasets]
        chosen = []
        for need in needs.datasets:
            folder = next(
                (
                    folder
                    for folder in cluster.datasets
                    if need.path == folder.path or Path(need.path).resolve() == folder.source.resolve()
                ),
                None,
            )
            if folder is None:
                raise UsageError(
                    f"the experiment reads datasets in {need.path}, which {cluster.file} does not name",
                    remedy="add a [[datasets]] table with this path",
                )
            chosen.append(self._folder(folder, (need.ids, need.files)))
        return chosen

    def _folder(
        self, folder: DatasetFolder, part: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None
    ) -> Folder:
        cache = (self._cache or cache_folder()) / "digests"
        if part is None and (known := glanced(folder.source, cache)) is not None and known["as"] == _as(folder):
            return Folder(folder, True, known["digest"], tuple(known["parts"]), self._later(folder, known["digest"]))
        content, found = self._content(folder, part, cache)
        return Folder(folder, part is None, found["digest"], tuple(found["parts"]), lambda: content)

    def _later(self, folder: DatasetFolder, digest: str) -> Callable[[], Content]:
        """Return what reads a folder when it is asked for, once, and finds it as it was at a glance."""
        reading = threading.Lock()
        known: list[Content] = []

        def content() -> Content:
            with reading:
                if not known:
                    found, seen = self._content(folder, None, (self._cache or cache_folder()) / "digests")
                    if seen["digest"] != digest:
                        message = f"{folder.source} was changed while this command ran"
                        raise ChangedError(message, remedy="run the command again when it is at rest")
                    known.append(found)
                return known[0]

        return content

    def _content(
        self, folder: DatasetFolder, part: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None, cache: Path
    ) -> tuple[Content, dict[str, Any]]:
        """Read a folder; return what is in it, and the digests of that."""
        from provisioning.listing import read_index

        listed = read_index(folder)
        ids = tuple(row.id for row in listed) if part is None else part[0]
        chosen = set(ids)
        files = [file for row in listed if row.id in chosen for file in row.files]
        wanted = dict.fromkeys(files if part is None else [*files, *part[1]])
        source = str(folder.source)
        missing = [file for file in wanted if not os.path.isfile(f"{source}/{file}")]  # noqa: PTH113 - each of thousands
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
            raise UsageError(
                f"{folder.source / folder.index} lists files that are not in the folder: {shown}",
                remedy="put them there or take their rows out; nothing was copied",
            )
        found: dict[str, Any] = {}

        def conclude(manifest: Manifest) -> dict[str, Any] | None:
            rows = [(entry.path, entry.size, entry.sha256) for entry in manifest.entries]
            parts = part_digests(rows, max(1, min(PARTS, len(rows) // PART)))
            found.update({"as": _as(folder), "digest": manifest.digest, "parts": parts})
            # a file that is listed and lies elsewhere may go without a trace in the folder
            return found if part is None and {*wanted, folder.index} <= manifest.by_path.keys() else None

        paths = None if part is None else [*wanted, folder.index]
        manifest = scan(folder.source, paths, cache=cache, progress=self._reading(folder), conclude=conclude)
        return Content(manifest, ids, len(found["parts"])), found

    def _reading(self, folder: DatasetFolder) -> Callable[[int], None] | None:
        """Return what tells how much of a folder has been read."""
        tell = self._on_event
        if tell is None:
            return None
        done, title = [0], f"read {folder.source}"

        def progress(size: int) -> None:
            done[0] += size
            tell({"title": title, "done": done[0], "total": done[0], "unit": "B"})

        return progress

    def difference(
        self, cluster: Cluster, node: Node, observed: Mapping[str, Any], desired: tuple[Folder, ...]
    ) -> Difference:
        """Compare digests; what is lacking is copied if it fits, and read once by the node's environment."""
        changes: list[Change] = []
        findings: list[Finding] = []
        need: dict[int, int] = {}
        for folder in desired:
            seen = observed["folders"][str(folder.folder.path)]
            copy = self._copy(node, folder, seen)
            if copy is not None:
                changes.append(copy)
                findings += self._obstacles(node, folder, seen)
                if not seen["exists"] or seen["marked"]:
                    need[seen["device"]] = need.get(seen["device"], 0) + copy.size
                    findings += _full(node, folder, need[seen["device"]], seen["free"])
            changes += self._gone(node, folder, seen)
            findings += self._unlisted(node, folder, changes)
            if cluster.environment is not None and observed["environment"] and not seen["proven"]:
                title = f"read {len(folder.ids)} datasets of {folder.folder.path} with the node's environment"
                changes.append(Change(node.name, self.name, title, detail={"path": str(folder.folder.path)}))
        if observed["rsync"] is None and any("missing" in change.detail for change in changes):
            remedy = "install it: apt-get install rsync, or what the system has instead"
            findings.append(Finding(node.name, self.name, "rsync is not installed", remedy))
        return Difference(tuple(changes), tuple(findings))

    def _copy(self, node: Node, folder: Folder, seen: Mapping[str, Any]) -> Change | None:
        if seen["marked"] and seen["digest"] == folder.digest:
            return None
        has = {path: digest for path, _, digest in seen["rows"]} if seen["marked"] else {}
        differ = seen.get("parts", range(len(folder.parts)))
        parts = [part for number, part in enumerate(folder.content().parts) if number in differ]
        entries = (entry for part in parts for entry in part)
        missing = sorted((each for each in entries if has.get(each.path) != each.sha256), key=attrgetter("path"))
        if seen["marked"] and not missing:
            return None
        damaged = sum(1 for entry in missing if entry.path in has)
        replaced = f", {damaged} of them to replace others" if damaged else ""
        return Change(
            node.name,
            self.name,
            f"copy {len(missing)} files{replaced} to {folder.folder.path}",
            sum(entry.size for entry in missing),
            {"path": str(folder.folder.path), "missing": [entry.path for entry in missing]},
        )

    def _gone(self, node: Node, folder: Folder, seen: Mapping[str, Any]) -> list[Change]:
        """Return what is to be deleted: what we put there and the source no longer has."""
        rows = seen.get("rows", ()) if self._delete and folder.whole and seen["marked"] else ()
        wanted = folder.manifest.by_path if rows else {}
        gone = sorted(path for path, _, _ in rows if path not in wanted)
        if not gone:
            return []
        title = f"delete {len(gone)} files below {folder.folder.path} that {folder.folder.source} has no more: "
        more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        detail = {"path": str(folder.folder.path), "delete": gone}
        return [Change(node.name, self.name, title + ", ".join(gone[:SHOWN]) + more, detail=detail)]

    def _unlisted(self, node: Node, folder: Folder, changes: Sequence[Change]) -> list[Finding]:
        """Let no empty source empty the nodes."""
        mine = (change for change in changes if change.detail["path"] == str(folder.folder.path))
        if not any("delete" in change.detail for change in mine) or folder.ids:
            return []
        message = f"{folder.folder.source / folder.folder.index} lists no dataset; nothing is deleted for that"
        return [Finding(node.name, self.name, message, "see whether the source is what it should be")]

    def _obstacles(self, node: Node, folder: Folder, seen: Mapping[str, Any]) -> list[Finding]:
        path = folder.folder.path
        if not seen["directory"]:
            message, remedy = f"{seen['nearest']} is not a folder", f"move it away, {path} has to be there"
        elif not seen["writable"]:
            message, remedy = f"{seen['nearest']} cannot be written to", f"give this user a {path} of its own"
        else:
            return []
        return [Finding(node.name, self.name, message, remedy)]

    def bring(self, work: Work[tuple[Folder, ...]]) -> Sequence[Parcel]:
        """Return one parcel per folder, its index last."""
        parcels = []
        for folder in work.desired:
            missing = {
                name: tuple(change.detail["missing"])
                for name, difference in work.differences.items()
                for change in difference.changes
                if "missing" in change.detail and change.detail["path"] == str(folder.folder.path)
            }
            # one from which files only go has nothing to travel, and is locked as well
            if missing or any(change.detail["path"] == str(folder.folder.path) for change in _deleting(work)):
                where = folder.folder
                last, mode, group = (where.index,), where.mode, where.group
                parcels.append(Parcel(self.name, where.source, folder.manifest, where.path, missing, last, mode, group))
        return parcels

    def settle(self, task: Task[tuple[Folder, ...]], on_event: OnEvent) -> None:
        """Delete what is to go; let the node's own environment open the index and every dataset, once for both."""
        for change in task.difference.changes:
            if "delete" in change.detail:
                args = {"target": change.detail["path"], "delete": change.detail["delete"]}
                task.session.call("provisioning.node.forget_files", args, on_event=on_event)
        python = _python(task.cluster)
        if python is None:
            return
        paths = {change.detail["path"] for change in task.difference.changes}
        folders = [
            {
                "path": str(folder.folder.path),
                "ids": folder.ids,
                "digest": folder.digest,
                "files": _digests(folder.manifest),
            }
            for folder in task.desired
            if str(folder.folder.path) in paths
        ]
        args = {"python": python, "folders": folders, "proofs": str(_proofs(task.cluster, task.node))}
        task.session.call("provisioning.node.read_datasets", args, on_event=on_event)


def _as(folder: DatasetFolder) -> list[Any]:
    """Return what else decides what is concluded of a folder."""
    return [folder.index, PARTS, PART]


def _full(node: Node, folder: Folder, need: int, free: int) -> list[Finding]:
    if need <= free:
        return []
    message = f"{need} bytes have to fit on the file system of {folder.folder.path}, {free} are free"
    return [Finding(node.name, Datasets.name, message, "make room there, or name a path on another file system")]


def _deleting(work: Work[tuple[Folder, ...]]) -> Iterator[Change]:
    for difference in work.differences.values():
        yield from (change for change in difference.changes if "delete" in change.detail)


def _digests(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in manifest.entries}


def _python(cluster: Cluster) -> str | None:
    return None if cluster.environment is None else str(cluster.environment.prefix / "bin" / "python")


def _proofs(cluster: Cluster, node: Node) -> PurePosixPath:
    # with the node's name in its own: the state folder may be one for all nodes
    return cluster.state / "proofs" / f"datasets-{node.name}.json"
