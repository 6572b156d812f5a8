"""Names of image layers and of stacks of them, as image stores count (>= 3.8)."""

from __future__ import annotations

import hashlib
from typing import Iterable

SHORT = 16
"""Digits of a chain id that nodes and driver compare; a layer that is missed after all is sent in the next round."""


def chains(layers: Iterable[str]) -> list[str]:
    """Return the chain ids of a stack of layers, bottom first.

    A store keeps a layer for what lies below it: it has it when it has this very stack (OCI image specification,
    "Layer ChainID").

    Parameters
    ----------
    layers : iterable of str
        ``sha256:...`` of the uncompressed layers, bottom first.
    """
    found: list[str] = []
    for layer in layers:
        found.append(
            "sha256:" + hashlib.sha256(("%s %s" % (found[-1], layer)).encode()).hexdigest() if found else layer
        )
    return found


def short(digest: str) -> str:
    """Return the first digits of a ``sha256:...``."""
    return digest.partition(":")[2][:SHORT]
