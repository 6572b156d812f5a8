"""Who sends to whom: decided from the bytes that are missing, and said before the first of them travels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

Fan = Literal["star", "relay"]
Kind = Literal["straight", "relay", "star"]

RELAY_FROM = 16 << 20
"""Bytes that must be saved on the driver's way out before nodes are brought together, which takes about a second."""

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Sending:
    """What a person has said about how bytes travel.

    Attributes
    ----------
    fanout : {"star", "relay"} or None
        None lets the missing bytes decide.
    bwlimit : int or None
        Bytes per second that leave the driver, in all.
    uploads : int or None
        Nodes that the driver sends to at a time; ``limits.uploads`` when None.
    """

    fanout: Fan | None = None
    bwlimit: int | None = None
    uploads: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """How one transfer goes.

    Attributes
    ----------
    kind : {"straight", "relay", "star"}
        Over the connections that are open already; from node to node; or to each by itself, by rsync where that
        can copy all of it.
    chain : tuple of str
        With ``relay``: the nodes in the order in which the bytes pass them.
    why : str
        For a person.
    """

    kind: Kind
    chain: tuple[str, ...]
    why: str


def rate(text: str) -> int:
    """Read bytes per second as people write them: ``800k``, ``5M``, ``1.5G``; ValueError when it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text)
    value = 0 if found is None else int(float(found[1]) * 1000 ** " kmg".index(found[2].lower() or " "))
    if value < 1000:
        raise ValueError(f"{text!r} is no rate of at least 1k: write 800k, 5M or 1.5G")
    return value


def choose(missing: Mapping[str, int], local: AbstractSet[str], sending: Sending, uploads: int) -> Route:
    """Choose a route.

    Parameters
    ----------
    missing : mapping of str to int
        Node name -> bytes that it lacks.
    local : set of str
        Nodes that are this machine itself.
    sending : Sending
    uploads : int
        Nodes that the driver sends to at a time.

    Returns
    -------
    Route
    """
    remote = tuple(name for name, size in missing.items() if name not in local and size)
    total = sum(missing[name] for name in remote)
    saved = total - max((missing[name] for name in remote), default=0)
    if len(remote) > 1 and sending.fanout != "star" and (sending.fanout == "relay" or saved >= RELAY_FROM):
        return Route("relay", remote, f"relay: each byte leaves this machine once, {_shown(remote)}")
    at_once = min(len(remote), uploads)
    if sending.fanout == "star" and saved >= RELAY_FROM:
        return Route("star", (), f"star: this machine sends to each node itself, {at_once} at a time")
    return Route("straight", (), f"straight: this machine sends to each node itself, {at_once} at a time")


def _shown(names: Sequence[str]) -> str:
    shown = [*names[:SHOWN], f"{len(names) - SHOWN} more"] if len(names) > SHOWN else names
    return " -> ".join(shown)


def segments(chain: Sequence[str], broken: AbstractSet[str]) -> list[list[str]]:
    """Cut a chain before each node that the one before it does not reach.

    Parameters
    ----------
    chain : sequence of str
    broken : set of str
        Nodes that the one before them in `chain` does not reach.

    Returns
    -------
    list of list of str
        Their first nodes are fed by the driver.
    """
    parts: list[list[str]] = []
    for name in chain:
        if name in broken or not parts:
            parts.append([])
        parts[-1].append(name)
    return parts
