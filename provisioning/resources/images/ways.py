"""How images reach nodes: loaded, built there, or pulled; and what of it a cluster file and a command line allow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from provisioning.errors import UsageError

if TYPE_CHECKING:
    from provisioning.inventory import Cluster

Via = Literal["load", "build", "registry", "own-registry"]
WAYS: tuple[Via, ...] = ("load", "build", "registry", "own-registry")


@dataclass(frozen=True, slots=True)
class Way:
    """The way that one command takes.

    Attributes
    ----------
    via : {"load", "build", "registry", "own-registry"}
        Layers that a node lacks; its context, built there; pulled from a registry that is there, or from one of our own
        that is gone afterwards.
    registry : str
        ``HOST:PORT``, perhaps with a path below it; empty unless `via` is ``"registry"``.
    """

    via: Via = "load"
    registry: str = ""

    @property
    def pulls(self) -> bool:
        """Whether nodes pull images by digest."""
        return self.via in {"registry", "own-registry"}


LOADED = Way()


def chosen(cluster: Cluster, via: str | None = None, registry: str | None = None) -> Way:
    """Return the way of a command: what it says itself, else what the cluster file says.

    Parameters
    ----------
    cluster : Cluster
    via : str, optional
        ``--via``.
    registry : str, optional
        The host that follows it.

    Raises
    ------
    UsageError
        When the two do not belong together, or the cluster file does not allow it.
    """
    from provisioning.inventory_text import REGISTRY

    way = cast("Via", via or cluster.push.via)
    if registry is not None and way != "registry":
        raise UsageError(f"a registry, {registry}, is named without --via registry", remedy="leave it out, or add that")
    host = (registry or cluster.push.registry or "") if way == "registry" else ""
    if way == "registry" and not host:
        raise UsageError(
            "--via registry does not say which", remedy="--via registry HOST:PORT, or registry = ... under [push]"
        )
    if host and re.fullmatch(REGISTRY, host) is None:
        raise UsageError(f"'{host}' is not a registry", remedy="name it like registry.lab:5000")
    if way == "build" and not cluster.push.by_context:
        raise UsageError(
            "--via build makes images that are equal by context, not by content, and "
            f"{cluster.file} does not allow these",
            remedy="write by_context = true under [push] if that is proof enough, or use --via load",
        )
    return Way(way, host)
