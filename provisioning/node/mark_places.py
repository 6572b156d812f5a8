"""Find out which folders are the same place on several nodes: one leaves a token, the others look for it."""

from __future__ import annotations

import contextlib
import os
import time

from provisioning.node.room import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from provisioning.node.bootstrap import Channel

MARK = ".timeeval-token-"
STALE_SECONDS = 86400
"""Tokens this old were left by a run that was killed."""


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"action": "leave" | "look" | "remove", "run", "node", "paths"}``.

    ``leave`` writes a token of this node into each folder, or into the nearest one above that exists, where it may;
    ``look`` returns path -> the nodes whose tokens are there; ``remove`` takes this node's tokens away again.
    """
    del channel
    seen: Dict[str, Any] = {}
    prefix = "%s%s-" % (MARK, args["run"])
    for path in args["paths"]:
        folder = nearest(path)
        own = prefix + args["node"]
        if args["action"] == "leave":
            with contextlib.suppress(OSError):
                os.close(os.open(folder + "/" + own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
        elif args["action"] == "look":
            names = os.listdir(folder)  # noqa: PTH208 - here and below: pathlib takes longer to load than this to run
            seen[path] = sorted(name[len(prefix) :] for name in names if name.startswith(prefix))
        else:
            for name in os.listdir(folder):  # noqa: PTH208
                if name.startswith(MARK):
                    with contextlib.suppress(OSError):
                        file = folder + "/" + name
                        if name == own or time.time() - os.lstat(file).st_mtime > STALE_SECONDS:
                            os.unlink(file)  # noqa: PTH108
    return {"seen": seen}
