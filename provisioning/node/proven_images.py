"""What is asked of images after they came, whichever way: are they these, and do they make containers (>= 3.8)."""

from __future__ import annotations

import contextlib
from typing import Any, Iterable

from provisioning.node import docker
from provisioning.node.tools import RefusedError


def creates(name: str) -> None:
    """Make a container and remove it unstarted: an image that was loaded in part can be inspected, but not this."""
    container = docker.docker(
        "create", "--pull", "never", "--network", "none", "--label", "timeeval.verify", name, "true"
    ).split()
    docker.docker("rm", "--force", "--volumes", container[-1])


def ids(names: Iterable[str]) -> set[str]:
    """Return the ids of what has these names now."""
    return {seen["id"] for seen in docker.inspect(list(names)).values() if seen is not None}


def remove(replaced: set[str]) -> None:
    """Remove images that lost their only name to what came; one that a container uses stays."""
    for image, seen in docker.inspect(sorted(replaced)).items():
        if seen is not None and not seen["tags"]:
            with contextlib.suppress(RefusedError):
                docker.docker("image", "rm", image)


def others(wanted: dict[str, Any], kind: str) -> list[str]:
    """Return the names under which a store of this kind has something else than what is wanted, or nothing."""
    found = docker.inspect(list(wanted))
    return [name for name, image in wanted.items() if not docker.same(found[name], image, kind)]
