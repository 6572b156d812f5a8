"""Exchange an environment with the one before it. Runs on the node (standard library, Python >= 3.8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import venvs
from provisioning.node.switching import exchange, previous_of, starts
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Put the environment before the one at ``args["prefix"]`` in its place, if it is the one of ``args["identity"]``.

    What was there becomes the one before; when the other does not start, nothing has changed afterwards.
    """
    prefix = Path(args["prefix"])
    previous = previous_of(prefix)
    channel.event({"title": "switch back", "done": 0, "total": 1})
    there = venvs.look(previous)
    if there.get("identity") != args["identity"]:
        raise RefusedError("%s was changed a moment ago" % previous, "run it again")
    exchange(prefix, previous)
    try:
        starts(prefix)
    except (OSError, ValueError, RefusedError):
        exchange(prefix, previous)
        raise
    return {"identity": args["identity"]}
