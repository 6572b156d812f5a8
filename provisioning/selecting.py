"""Parts of the dataset folders, by patterns: what ``--select`` means."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from provisioning.errors import UsageError
from provisioning.listing import read_index
from provisioning.resources.base import DatasetNeed, Needs

if TYPE_CHECKING:
    from provisioning.inventory import Cluster

__all__ = ["selected"]


def selected(cluster: Cluster, patterns: Sequence[str]) -> Needs:
    """Return the datasets whose collection, name, ``collection/name`` or ``collection-name`` matches a pattern.

    Parameters
    ----------
    cluster : Cluster
    patterns : sequence of str
        As a shell matches file names, e.g. ``NAB-*``; one may hold several with commas between.

    Returns
    -------
    Needs
        Folders without such a dataset are left out.

    Raises
    ------
    UsageError
        When a pattern matches nothing.
    """
    wanted = [pattern for text in patterns for pattern in text.split(",") if pattern]
    matched: set[str] = set()
    needs = []
    for folder in cluster.datasets:
        chosen = []
        for row in read_index(folder):
            collection, name = row.id
            names = (collection, name, f"{collection}/{name}", f"{collection}-{name}")
            by = [pattern for pattern in wanted if any(fnmatchcase(each, pattern) for each in names)]
            matched.update(by)
            chosen += [row] if by else []
        if chosen:
            files = tuple(file for row in chosen for file in row.files)
            needs.append(DatasetNeed(folder.path, tuple(row.id for row in chosen), files))
    idle = [pattern for pattern in wanted if pattern not in matched]
    if idle or not wanted:
        raise UsageError(
            f"no dataset matches {', '.join(idle) or 'an empty pattern'}",
            remedy="write patterns of collection, name or collection/name, as in --select 'NAB/*'",
        )
    return Needs(datasets=tuple(needs))
