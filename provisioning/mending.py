"""What differs on a node, named to the file, and the one command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning.inventory import Cluster
    from provisioning.report import NodeReport
    from provisioning.resources.base import Change

MENDS = {"environment": "create-envs", "datasets": "sync-datasets", "images": "push-images"}
"""Resource -> the command that brings what it lacks."""

SHOWN = 3


def differing(node: NodeReport) -> list[str]:
    """Return what is not as it must be on a node.

    Parameters
    ----------
    node : NodeReport
        With the changes that are due and the facts that were observed.

    Returns
    -------
    list of str
        A line per file where files are known (``"/srv/data/a.csv holds other bytes"``), else one per change.
    """
    lines = []
    for change in node.due:
        named = {"datasets": _datasets, "environment": _environment}.get(change.resource, _nothing)(node, change)
        lines += list(named) or [f"{change.resource}: {change.title}"]
    return lines


def _nothing(_node: NodeReport, _change: Change) -> Iterator[str]:
    return iter(())


def _datasets(node: NodeReport, change: Change) -> Iterator[str]:
    folder = str(change.detail.get("path", ""))
    seen = node.facts.get("datasets", {}).get("folders", {}).get(folder, {})
    there = {row[0] for row in seen.get("rows", ())}
    for path in change.detail.get("missing", ()):
        yield f"{folder}/{path} {'holds other bytes' if path in there else 'is missing'}"


def _environment(node: NodeReport, change: Change) -> Iterator[str]:
    seen = node.facts.get("environment", {}).get("environment", {})
    edited = seen.get("edited") or ()
    # packages that are other ones altogether are told by the change itself
    if edited and edited[0] in change.title:
        yield from (f"environment: {line}" for line in edited)


def summary(lines: Sequence[str]) -> str:
    """Return the first of some lines and the number of the others."""
    more = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def command(cluster: Cluster, node: NodeReport, *, deep: bool = False) -> str:
    """Return the command that brings what a node lacks.

    Parameters
    ----------
    cluster : Cluster
    node : NodeReport
    deep : bool
        Whether only a deep look has found it; then only a deep look finds it again.

    Returns
    -------
    str
        To be typed as it is.
    """
    verbs = {MENDS[change.resource] for change in node.due if change.resource in MENDS}
    verb = verbs.pop() if len(verbs) == 1 else "up"
    again = " --deep" if deep and verb != "push-images" else ""
    which = f" --environment {shlex.quote(cluster.variant)}" if cluster.variant else ""
    return f"timeeval-provision {verb}{again}{which} --cluster {shlex.quote(str(cluster.file))}"
