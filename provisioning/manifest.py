"""A folder's content by digest: what has to be equal, independent of where and when it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any

from provisioning.errors import UsageError
from provisioning.node.tree import LINK, content_digest, safe_link, safe_path


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One regular file: its path below the folder (forward slashes), size in bytes, and sha256 (hex).

    Of a symbolic link inside the folder the digest is ``link:`` and where it leads.
    """

    path: str
    size: int
    sha256: str

    @property
    def link(self) -> str | None:
        """Where a symbolic link leads; None for a file."""
        return self.sha256.removeprefix(LINK) if self.sha256.startswith(LINK) else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files of a folder, sorted by path, no path twice.

    Parameters
    ----------
    entries : tuple of Entry
        The files.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Return a manifest of these files.

        Raises
        ------
        ValueError
            When a path is not safe, or stands there twice.
        """
        ordered = tuple(sorted(entries, key=attrgetter("path")))
        for entry in ordered:
            safe_path(entry.path)
            if entry.link is not None:
                safe_link(entry.path, entry.link)
        for one, other in pairwise(ordered):
            if one.path == other.path:
                raise ValueError(f"a manifest names {one.path!r} twice")
        return cls(ordered)

    @property
    def digest(self) -> str:
        """Identity of the content: sha256 (hex) over paths, sizes and digests."""
        return content_digest((entry.path, entry.size, entry.sha256) for entry in self.entries)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def by_path(self) -> Mapping[str, Entry]:
        """The files by their path."""
        return {entry.path: entry for entry in self.entries}

    def select(self, paths: Iterable[str]) -> Manifest:
        """Return the part of the manifest with these paths; others of `paths` are ignored."""
        wanted = frozenset(paths)
        return Manifest(tuple(entry for entry in self.entries if entry.path in wanted))

    def to_json(self) -> list[list[Any]]:
        """Return ``[path, size, sha256]`` per file."""
        return [[entry.path, entry.size, entry.sha256] for entry in self.entries]

    @classmethod
    def from_json(cls, rows: Iterable[Any]) -> Manifest:
        """Read what `to_json` wrote, possibly by a node that is broken or hostile.

        Raises
        ------
        UsageError
            When a row is malformed or a path leaves its folder.
        """
        try:
            return cls.of(Entry(safe_path(path), int(size), str(sha256)) for path, size, sha256 in rows)
        except (TypeError, ValueError) as error:
            raise UsageError(f"not a manifest: {error}", remedy="look at what wrote it; nothing was copied") from error
