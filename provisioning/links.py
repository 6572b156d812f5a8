"""Symbolic links in a folder that travels: those that stay inside are kept as they are, all others are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from provisioning.errors import UsageError
from provisioning.node import tree

__all__ = ["follow", "target_of"]

MOST_HOPS = 40


def target_of(root: Path, path: str) -> str:
    """Return where a link below `root` leads, relative to the link's own folder, as it is made on the nodes.

    Parameters
    ----------
    root : Path
        Resolved.
    path : str
        The link, relative to `root`.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        When it leads to nothing, outside, or to what is neither a file nor a folder.
    """
    link = root / path
    try:
        found = link.resolve(strict=True)
        status = found.stat()
    except FileNotFoundError as error:
        raise UsageError(f"{link} is a link to nothing", remedy="mend it, or take it out of the folder") from error
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{link}: {error}", remedy="mend the link, or take it out of the folder") from error
    if not found.is_relative_to(root):
        raise UsageError(f"{link} is a link out of {root}", remedy="put the file itself there")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{link} leads to what is not a regular file", remedy="take it out of the folder")
    target = str(link.readlink())
    if target.startswith("/"):
        target = os.path.relpath(found, link.parent)
    try:
        return tree.safe_link(path, target)
    except ValueError as error:
        raise UsageError(f"{link} {error}", remedy="let it lead straight to its file") from error


def follow(root: Path, path: str) -> tuple[dict[str, str], str]:
    """Return the links on the way to a file, and where its bytes are.

    Parameters
    ----------
    root : Path
        Resolved.
    path : str
        Relative to `root`; any part of it may be a link.

    Returns
    -------
    links : dict of str to str
        Link -> where it leads.
    real : str
        Path below `root` in which no part is a link.

    Raises
    ------
    UsageError
        As `target_of`.
    """
    links: dict[str, str] = {}
    waiting, at = path.split("/"), ""
    while waiting:
        part, *waiting = waiting
        here = os.path.normpath(f"{at}/{part}") if at else part
        if not (root / here).is_symlink():
            at = here
            continue
        if len(links) > MOST_HOPS:
            raise UsageError(f"{root / path} goes through too many links", remedy="let it lead straight to its file")
        links[here] = target_of(root, here)
        real = os.path.normpath(os.path.join(at, links[here]))  # noqa: PTH118 - `at` may be empty
        waiting, at = [*([] if real == "." else real.split("/")), *waiting], ""
    return links, at
