"""The environment at a prefix and the one before it, which is read completely. Runs on the node (Python >= 3.8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioning.node import venvs
from provisioning.node.switching import previous_of


def observe(question: dict[str, Any]) -> dict[str, Any]:
    """Answer for {"prefix"}: ``environment`` and ``previous`` as `venvs.look` tells them; {} without a prefix."""
    if question["prefix"] is None:
        return {}
    prefix = Path(question["prefix"])
    return {"environment": venvs.look(prefix), "previous": venvs.look(previous_of(prefix), deep=True)}
