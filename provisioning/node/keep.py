"""Keep a document on the node: written beside its name and renamed, so that no reader sees half of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import history, tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Write ``{"path", "document", "history", "entry"}``: the document (None takes it away), and one more entry."""
    del channel
    path = Path(args["path"])
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if args["document"] is not None:
        tree.write_json(str(path), args["document"])
    elif path.exists():
        path.unlink()
    history.append(args["history"], args["entry"])
    return {}
