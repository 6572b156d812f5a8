"""A cluster whose only node is this machine, for tests that need neither SSH nor Docker."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from provisioning.inventory import Cluster, Node


def lone(folder: Path, node: str = "alpha", *, slots: int | None = None, **more: Any) -> Cluster:
    """Return a cluster whose folders are below one of this machine; `more` is what else its file says."""
    only = Node(node, is_driver=True, **({} if slots is None else {"slots": slots}))
    return Cluster(
        **{
            "name": "test",
            "file": folder / "cluster.toml",
            "nodes": (only,),
            "driver": only,
            "scheduler": only,
            "results": PurePosixPath(folder / "results"),
            "state": PurePosixPath(folder / "state"),
            "known_hosts": folder / "known_hosts",
            **more,
        }
    )
