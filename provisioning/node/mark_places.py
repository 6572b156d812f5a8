"""Find out which folders are the same place on several nodes: one leaves a token, the others look for it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict

from provisioning.node.room import nearest

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

STALE_SECONDS = 86400
"""Tokens this old were left by a run that was killed."""


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"action": "leave" | "look" | "remove", "run", "node", "paths"}``.

    ``leave`` writes a token of this node into each folder, or into the nearest one above that exists, where it may;
    ``look`` returns path -> the nodes whose tokens are there; ``remove`` takes this node's tokens away again.
    """
    del channel
    seen: Dict[str, Any] = {}
    prefix = ".timeeval-token-%s-" % args["run"]
    for path in args["paths"]:
        folder = Path(nearest(path))
        token = folder / (prefix + args["node"])
        if args["action"] == "leave":
            with contextlib.suppress(OSError):
                os.close(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
        elif args["action"] == "look":
            seen[path] = sorted(
                entry.name[len(prefix) :] for entry in folder.iterdir() if entry.name.startswith(prefix)
            )
        else:
            for entry in folder.glob(".timeeval-token-*"):
                with contextlib.suppress(OSError):
                    if entry == token or time.time() - entry.lstat().st_mtime > STALE_SECONDS:
                        entry.unlink()
    return {"seen": seen}
