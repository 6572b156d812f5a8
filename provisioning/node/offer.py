"""Say what folders hold, by digest, so that the driver can fetch it and prove what arrived."""

from __future__ import annotations

import contextlib
import os
import stat
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Iterator, List, Optional, Tuple

from provisioning.node import tree

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

NICE = 10
"""What is fetched must not disturb what is measured meanwhile."""


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer for ``{"root", "below", "have", "drop": [path], "only": [pattern] or None, "most": bytes}``.

    Each of ``below`` is a file or folder below ``root``; only files whose names match a pattern are wanted, none of
    those that the driver has (``have``), and a folder that holds more than ``most`` bytes is not read. ``drop`` are
    files that are not needed here any more.

    ``files`` are [path, size, sha256] of regular files; ``other`` are links, sockets and the like, which are never
    offered; ``unreadable`` are [path, why]; ``changing`` are files that are being written right now; ``absent`` are
    those of ``below`` that are not there; ``refused`` are [path, bytes] of those that hold too much; ``left`` are
    [path, files, bytes] of what nobody wants of each.
    """
    with contextlib.suppress(OSError):
        os.nice(NICE)
    root = args["root"]
    for path in args["drop"]:
        _drop(root, path)
    names = ("files", "other", "unreadable", "changing", "absent", "refused", "left")
    answer = {name: [] for name in names}  # type: Dict[str, List[Any]]
    have = frozenset(args["have"])
    total = sum(_list(args, path, have, answer) for path in args["below"])
    wanted, answer["files"] = answer["files"], []
    done = 0
    for path, size in wanted:
        try:
            row = tree.row_of(root, path)
        except (FileNotFoundError, ValueError):
            answer["changing"].append(path)
        except OSError as error:
            answer["unreadable"].append([path, error.strerror or str(error)])
        else:
            answer["files"].append([path, row[0], row[4]])
        done += size
        channel.event({"title": "read", "done": done, "total": total})
    return answer


def _list(args: Dict[str, Any], below: str, have: FrozenSet[str], answer: Dict[str, List[Any]]) -> int:
    """Note what one folder or file holds; return the bytes that are wanted of it."""
    root = args["root"]
    if not os.path.lexists(Path(root, below)):
        answer["absent"].append(below)
        return 0
    wanted: List[Tuple[str, int]] = []
    left = [0, 0]
    for path in _walk(root, below):
        try:
            status = Path(root, path).lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            answer["other"].append(path)
        elif path in have:
            continue
        elif _matches(path, args["only"]):
            wanted.append((path, status.st_size))
        else:
            left[0] += 1
            left[1] += status.st_size
    total = sum(size for _, size in wanted)
    if total > args["most"]:
        answer["refused"].append([below, total])
        return 0
    if left[0]:
        answer["left"].append([below, *left])
    answer["files"] += wanted
    return total


def _walk(root: str, below: str) -> Iterator[str]:
    """Yield what lies in a folder, links to folders included; a file is itself."""
    top = Path(root, below)
    if not stat.S_ISDIR(top.lstat().st_mode):
        yield below
        return
    for base, folders, names in os.walk(top):
        folder = Path(base)
        links = [name for name in folders if (folder / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield (folder / name).relative_to(root).as_posix()


def _matches(path: str, only: Optional[List[str]]) -> bool:
    return only is None or any(fnmatch(path.rpartition("/")[2], pattern) for pattern in only)


def _drop(root: str, path: str) -> None:
    *folders, name = tree.safe_path(path).split("/")
    with contextlib.suppress(OSError):  # gone already, or not ours to remove
        folder = tree.open_folder(root, folders)
        try:
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
