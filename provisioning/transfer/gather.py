"""Fetch finished folders of one node, as often as asked, over one connection: proven by digest, bounded, resumable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, ProvisionError, UnreachableError, UsageError
from provisioning.launch import open_session
from provisioning.manifest import Entry, Manifest
from provisioning.node import tree
from provisioning.transfer.rsync import Copier

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session

OFFER = "provisioning.node.offer"
TRIES = 2
MOST = 1 << 34
"""Bytes that are fetched of one folder at most, where nobody says otherwise: 16 GiB."""
SILENCE_SECONDS = 180
"""A node that reads a file of that size says nothing meanwhile."""
SPARE = 1 << 27
SLACK = 1 << 20

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was fetched from one node.

    Attributes
    ----------
    files, size : int
        What travelled: number and bytes.
    present : int
        Files that were here already, with equal digests.
    other : tuple of str
        Links, sockets and the like, which are never fetched.
    failed : mapping of str to str
        Folder -> why not all of it is here; asking again may help.
    refused : mapping of str to str
        Folder -> why something of it stays there for good: it holds too much, cannot be read, or is gone.
    left : mapping of str to tuple of (int, int)
        Folder -> files and bytes that were not asked for.
    """

    files: int = 0
    size: int = 0
    present: int = 0
    other: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offered:
    """What a node says that its folders hold; every path lies below one that was asked for."""

    manifest: Manifest
    other: tuple[str, ...]
    changing: tuple[str, ...]
    refused: Mapping[str, str]
    left: Mapping[str, tuple[int, int]]


class Gathering:
    """Fetches from one folder of one node into one of the driver.

    Only names that the caller asks for are ever written, whatever the node says; so each node must be asked for names
    that are its own, and only when nobody writes to them any more.

    Parameters
    ----------
    cluster : Cluster
    node : Node
    remote : PurePosixPath
        Folder on the node.
    local : Path
        Folder on the driver.
    stage : Path
        Folder on the driver in which files of this node arrive, on the same file system; what an interruption leaves
        there is used by the next call.
    """

    def __init__(self, cluster: Cluster, node: Node, remote: PurePosixPath, local: Path, stage: Path) -> None:
        self.node = node
        self._cluster = cluster
        self._remote = remote
        self._local = local
        self._stage = stage
        self._session: Session | None = None
        self._copier = Copier(cluster, node)

    def fetch(
        self,
        below: Sequence[str],
        *,
        only: Sequence[str] | None = None,
        have: Sequence[str] = (),
        drop: Sequence[str] = (),
        most: int = MOST,
        on_event: OnEvent = lambda _event: None,
    ) -> Gathered:
        """Fetch files and folders below the remote folder.

        Parameters
        ----------
        below : sequence of str
            Their paths.
        only : sequence of str, optional
            Patterns of the file names that are wanted; default: all.
        have : sequence of str
            Files that are not wanted, because they were fetched before.
        drop : sequence of str
            Files that are removed there, because what they hold is kept elsewhere by now.
        most : int
            Bytes at most of each of `below`.
        on_event : callable
            Progress in bytes.

        Returns
        -------
        Gathered

        Raises
        ------
        ProvisionError
            When the node is not reached, or what it answers cannot be trusted.
        """
        for path in (*below, *drop):
            tree.safe_path(path)
        request: dict[str, Any] = {"root": str(self._remote), "only": None if only is None else list(only)}
        request |= {"most": most, "drop": list(drop), "have": list(have)}
        seen = Gathered()
        mine: set[str] = set()
        asked = list(below)
        for _ in range(TRIES):
            offer = self._offer({**request, "below": asked}, on_event)
            seen = self._take(asked, offer, seen, mine, on_event)
            asked = list(seen.failed)
            if not asked:
                break
            request["drop"] = []
        self._tidy()
        return seen

    def close(self) -> None:
        """End what runs and the connection; the next call makes a new one."""
        self._copier.stop()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _offer(self, request: Mapping[str, Any], on_event: OnEvent) -> Offered:
        try:
            if self._session is None:
                self._session = open_session(self._cluster, self.node)
            return offered(self._session, request, on_event)
        except UnreachableError:
            self.close()
            raise

    def _take(
        self, asked: Sequence[str], offer: Offered, before: Gathered, mine: set[str], on_event: OnEvent
    ) -> Gathered:
        """Fetch what is not here; `mine` are the paths that this call has brought."""
        wanted = choose(self._local, offer.manifest)
        present = {entry.path for entry in offer.manifest.entries} - {entry.path for entry in wanted} - mine
        placed: list[Entry] = []
        if wanted:
            self._check_room(sum(entry.size for entry in wanted))
            self._pull(wanted, on_event)
            placed = self._place(wanted)
            mine |= {entry.path for entry in placed}
        late = {entry.path for entry in wanted} - mine
        failed = dict.fromkeys(_owners(asked, offer.changing), "it changed while it was read")
        failed |= dict.fromkeys(_owners(asked, late), "it changed, or what arrived was damaged")
        return Gathered(
            before.files + len(placed),
            before.size + sum(entry.size for entry in placed),
            before.present + len(present),
            tuple(sorted({*before.other, *offer.other})),
            failed,
            {**before.refused, **offer.refused},
            {**before.left, **offer.left},
        )

    def _check_room(self, size: int) -> None:
        self._stage.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._stage).free
        if size + SPARE > free:
            raise UsageError(
                f"{size} bytes of {self.node.name} do not fit into {self._local} on this machine: {free} are free",
                remedy="make room; what was collected already stays",
            )

    def _pull(self, wanted: Sequence[Entry], on_event: OnEvent) -> None:
        total = sum(entry.size for entry in wanted)
        excess: list[int] = []

        def tell(done: int) -> None:
            if done > total + SLACK:
                excess.append(done)
                self._copier.stop()
            on_event({"title": f"fetch {self._remote}", "done": min(done, total), "total": total, "unit": "B"})

        largest = max(1, *(entry.size for entry in wanted))
        try:
            self._copier.pull(str(self._remote), [entry.path for entry in wanted], self._stage, tell, largest)
        except ProvisionError as error:
            if isinstance(error, UnreachableError):
                self.close()
            if not excess:
                raise
        if excess:
            raise NodeError(
                f"it sent {excess[0]} bytes where it had offered {total}; nothing of that was kept",
                host=self.node.name,
                remedy="find out what runs there in place of rsync",
            )

    def _place(self, entries: Iterable[Entry]) -> list[Entry]:
        try:
            return [entry for entry in entries if place(self._stage, self._local, entry)]
        except OSError as error:
            raise NodeError(
                f"what was fetched cannot be placed on this machine: {error}",
                host=self.node.name,
                remedy=f"see whether {self._local} can be written to, then run it again",
            ) from error

    def _tidy(self) -> None:
        """Remove the stage unless something arrived there in part."""
        if self._stage.is_dir() and not any(file.is_file() for file in self._stage.rglob("*")):
            shutil.rmtree(self._stage)


def offered(session: Session, request: Mapping[str, Any], on_event: OnEvent) -> Offered:
    """Ask a node what its folders hold, and believe nothing that was not asked for.

    Raises
    ------
    NodeError
        When its answer is malformed, names what lies elsewhere, or holds more than was asked for.
    """
    answer = session.call(OFFER, request, on_event=on_event, timeout=SILENCE_SECONDS)
    host = session.node.name
    asked: list[str] = list(request["below"])
    try:
        manifest = Manifest.from_json(answer["files"])
        refused = {str(path): f"it holds {int(size)} bytes there, {request['most']} are fetched at most"
                   for path, size in answer["refused"]}  # fmt: skip
        refused |= {str(path): "it is not there any more" for path in answer["absent"]}
        for path, why in answer["unreadable"]:
            refused |= dict.fromkeys(_owners(asked, [str(path)]), f"{path} cannot be read there: {why}")
        result = Offered(
            manifest,
            tuple(str(path) for path in answer["other"]),
            tuple(str(path) for path in answer["changing"]),
            {path: why for path, why in refused.items() if path in asked},
            {str(path): (int(files), int(size)) for path, files, size in answer["left"] if path in asked},
        )
    except UsageError as error:
        raise NodeError(error.message, host=host, remedy=error.remedy) from error
    except (KeyError, TypeError, ValueError) as error:
        raise NodeError(f"its answer is not an offer: {error!r}", host=host) from error
    sizes = dict.fromkeys(asked, 0)
    for entry in manifest.entries:
        owners = _owners(asked, [entry.path])
        if not owners:
            raise NodeError(f"it offers {entry.path!r}, which nobody asked for; nothing was fetched", host=host)
        sizes[owners[0]] += entry.size
        if entry.size < 0 or sizes[owners[0]] > request["most"]:
            raise NodeError(f"it offers more of {owners[0]} than is fetched; nothing was", host=host)
    return result


def _owners(asked: Sequence[str], paths: Iterable[str]) -> list[str]:
    """Return what was asked for that these paths belong to."""
    known = frozenset(asked)
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")
        for length in range(len(parts), 0, -1):
            if (above := "/".join(parts[:length])) in known:
                found[above] = None
                break
    return list(found)


def choose(local: Path, offer: Manifest) -> list[Entry]:
    """Return what has to be fetched: all but what is here already with equal bytes."""
    return [entry for entry in offer.entries if _here(local, entry) != entry.sha256]


def _here(local: Path, entry: Entry) -> str | None:
    try:
        if (local / entry.path).lstat().st_size != entry.size:
            return None
        return str(tree.row_of(str(local), entry.path)[4])
    except (OSError, ValueError):
        return None


def place(stage: Path, local: Path, entry: Entry) -> bool:
    """Prove a file that arrived and give it its name, following no link; return whether it is what was offered."""
    arrived = stage / entry.path
    try:
        digest = tree.row_of(str(stage), entry.path)[4]
    except (OSError, ValueError):
        return False
    if digest != entry.sha256:
        arrived.unlink()
        return False
    *folders, name = entry.path.split("/")
    local.mkdir(parents=True, exist_ok=True)
    folder = tree.open_folder(str(local), folders, create=True)
    try:
        arrived.chmod(0o644)
        os.rename(arrived, name, dst_dir_fd=folder)
    finally:
        os.close(folder)
    return True


__all__ = ["MOST", "Gathered", "Gathering", "Offered", "choose", "offered", "place"]
