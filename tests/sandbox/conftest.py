"""Tests on the practice cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import practice
from engine_run import environment, nothing_left
from practice import Commands, cluster_file, cluster_variant, commands, nodes_left_well, provisioned, results, sandbox

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Commands",
    "cluster_file",
    "cluster_variant",
    "commands",
    "environment",
    "nodes_left_well",
    "nothing_left",
    "provisioned",
    "results",
    "sandbox",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    practice.mark(items, Path(__file__).parent)
