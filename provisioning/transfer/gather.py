"""Fetch folders of many nodes into one: names may meet only with equal digests, and nothing is replaced unproven."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import NodeError, UsageError
from provisioning.manifest import Entry, Manifest
from provisioning.node import tree

if TYPE_CHECKING:
    from provisioning.launch import Session

OFFER = "provisioning.node.offer"
CONTROL = ".timeeval-gather"

Fetch = Callable[[list[str], Path, Callable[[int], None]], None]
"""Copies files (paths below the node's folder) into a folder of the driver; tells the bytes received so far."""


@dataclass(slots=True)
class Meeting:
    """The driver's folder, and who may write which name in it.

    Parameters
    ----------
    local : Path
        The folder.
    nodes : sequence of str
        Names of the nodes of this call. What is written down is kept per node, so that another call may gather from
        other nodes into the same folder meanwhile.
    """

    local: Path
    nodes: Sequence[str]
    _taken: dict[str, tuple[str, str]] = field(default_factory=dict)
    _origins: dict[str, dict[str, str]] = field(default_factory=dict)

    def open(self) -> None:
        """Make the folder ready and read where its files came from."""
        (self.local / CONTROL).mkdir(parents=True, exist_ok=True)
        self._origins = {node: tree.read_json(str(self._record(node))) or {} for node in self.nodes}

    def close(self) -> None:
        """Write down where the files came from, so that a later state of them may replace them."""
        for node in self.nodes:
            if self._origins[node]:
                tree.write_json(str(self._record(node)), self._origins[node])
            stage = self.local / CONTROL / node
            if stage.is_dir() and not any(file.is_file() for file in stage.rglob("*")):
                shutil.rmtree(stage)

    def _record(self, node: str) -> Path:
        return self.local / CONTROL / f"{node}.json"

    def choose(self, node: str, offered: Manifest) -> tuple[list[Entry], int]:
        """Return what has to be fetched from a node, and how many files are there already.

        Raises
        ------
        NodeError
            When a name is taken by other bytes.
        """
        wanted, present = [], 0
        for entry in offered.entries:
            owner, digest = self._taken.setdefault(entry.path, (node, entry.sha256))
            if digest != entry.sha256:
                raise self._conflict(node, entry, owner)
            here = self._here(entry.path)
            if here == entry.sha256:
                present += 1
            elif owner != node:
                continue
            elif here is None or self._origins[node].get(entry.path) == here:
                wanted.append(entry)
            else:
                raise self._conflict(node, entry, "the driver")
        return wanted, present

    def _here(self, path: str) -> str | None:
        try:
            return str(tree.row_of(str(self.local), path)[4])
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return "another kind of file"

    def _conflict(self, node: str, entry: Entry, owner: str) -> NodeError:
        return NodeError(
            f"{entry.path} has other bytes here than on {owner}; nothing was fetched from this node",
            host=node,
            remedy=f"compare the two; move {self.local / entry.path} away to fetch this one",
        )

    def stage(self, node: str) -> Path:
        """Return the folder in which files of a node arrive; it outlives an interruption."""
        folder = self.local / CONTROL / node
        folder.mkdir(exist_ok=True)
        return folder

    def place(self, node: str, entry: Entry) -> bool:
        """Prove a file that arrived and give it its name; return whether it is what was offered."""
        stage = self.stage(node)
        try:
            digest = tree.row_of(str(stage), entry.path)[4]
        except (OSError, ValueError):
            return False
        if digest != entry.sha256:
            (stage / entry.path).unlink()
            return False
        *folders, name = entry.path.split("/")
        folder = tree.open_folder(str(self.local), folders, create=True)
        try:
            (stage / entry.path).chmod(0o644)
            os.rename(stage / entry.path, name, dst_dir_fd=folder)
        finally:
            os.close(folder)
        self._origins[node][entry.path] = entry.sha256
        return True


def offered(session: Session, request: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Ask a node what its folder holds; its paths are checked before anything is done with them."""
    answer = session.call(OFFER, request, on_event=on_event)
    try:
        manifest = Manifest.from_json(answer["files"])
    except UsageError as error:
        raise NodeError(error.message, host=session.node.name, remedy=error.remedy) from error
    return {
        "manifest": manifest,
        "other": tuple(str(name) for name in answer["other"]),
        "changing": tuple(str(name) for name in answer["changing"]),
    }
