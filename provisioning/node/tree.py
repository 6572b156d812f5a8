"""Files below a folder: which names are safe, and what their bytes are. Runs on nodes and on the driver."""

from __future__ import annotations

import os
import stat
import time
import zlib

from provisioning.node.quick import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

    Json = Any
    """What `json.load` returns."""
    Row = List[Any]
    """`[size, mtime_ns, ctime_ns, inode, sha256]` of a file; the first four tell whether the last still holds."""

CHUNK = 1 << 20
LITTLE = 1 << 20
LINK = "link:"
"""Begins the digest of a symbolic link; its size is the length of where it leads, in bytes."""


def safe_path(path: object) -> str:
    """Return `path` if it stays below the folder it is relative to, else raise ValueError."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("not a relative path: %r" % (path,))
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("leaves its folder or is not in its simplest form: %r" % (path,))
    return path


def safe_link(path: str, target: str) -> str:
    """Return where the link `path` leads, if that stays below the folder it is in; else raise ValueError."""
    if not target or "\0" in target or target.startswith("/"):
        raise ValueError("leads to %r, which is not relative" % (target,))
    there = os.path.normpath("/".join([*safe_path(path).split("/")[:-1], target]))
    if there == ".." or there.startswith("../"):
        raise ValueError("leads out of its folder: %r" % (target,))
    return target


def open_folder(
    root: str, parts: Iterable[str], create: bool = False, made: Optional[Callable[[int], None]] = None
) -> int:
    """Return a descriptor of the folder ``root/parts...``, following no symbolic link below `root`.

    `made` gets the descriptor of each folder that had to be created.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            new = False
            if create:
                try:
                    os.mkdir(part, 0o755, dir_fd=folder)
                    new = True
                except FileExistsError:
                    pass
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            if new and made is not None:
                made(below)
            os.close(folder)
            folder = below
    except BaseException:
        os.close(folder)
        raise
    return folder


def open_inside(root: str, path: str) -> int:
    """Open a regular file below `root` for reading, following no symbolic link below `root`; return the descriptor.

    Raises OSError (ELOOP, ENOTDIR, ENOENT), or ValueError when it is no regular file.
    """
    parts = safe_path(path).split("/")
    folder = open_folder(root, parts[:-1])
    try:
        # non-blocking, because a FIFO under a wanted name must not hang us
        descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("not a regular file: %r" % (path,))
    return descriptor


def digest_stream(stream: BinaryIO) -> Tuple[str, int]:
    """Return the sha256 (hex) and the length of what a binary stream still holds."""
    import hashlib  # here and below: where nothing has changed nothing is hashed

    sha256, size = hashlib.sha256(), 0
    while True:
        block = stream.read(CHUNK)
        if not block:
            return sha256.hexdigest(), size
        sha256.update(block)
        size += len(block)


def link_row(root: str, path: str) -> Optional[Row]:
    """Return the row of a symbolic link below `root`, whose digest is ``link:`` and where it leads; None for others."""
    parts = safe_path(path).split("/")
    folder = open_folder(root, parts[:-1])
    try:
        status = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            return None
        return [*stamp(status), LINK + safe_link(path, os.readlink(parts[-1], dir_fd=folder))]
    finally:
        os.close(folder)


def row_of(root: str, path: str) -> Row:
    """Read a regular file below `root` and return its row; ValueError when it changes while it is read."""
    link = link_row(root, path)
    if link is not None:
        return link
    with os.fdopen(open_inside(root, path), "rb") as stream:
        for _ in range(2):
            before = os.fstat(stream.fileno())
            stream.seek(0)
            digest, size = digest_stream(stream)
            after = os.fstat(stream.fileno())
            if size == after.st_size and stamp(before) == stamp(after):
                return [*stamp(after), digest]
    raise ValueError("changed while it was read: %r" % (path,))


def rows(
    root: str, paths: Iterable[str], known: Mapping[str, Row], progress: Optional[Callable[[int], None]] = None
) -> Tuple[Dict[str, Row], Dict[str, str]]:
    """Return the rows of `paths` below `root`, and why others have none.

    A file is read only when its size, times and inode are not those of its row in `known`. `progress` gets the bytes of
    each file that was read.
    """
    found = {}  # type: Dict[str, Row]
    failed = {}  # type: Dict[str, str]
    now, lstat, below = time.time_ns(), os.lstat, root + "/"
    for path in paths:
        row = known.get(path)
        try:
            # plain strings: this is all that is done for each file of a folder in which nothing has changed
            if row is not None and row[:4] == stamp(lstat(below + path)) and _settled(row, now):
                found[path] = row
                continue
            found[path] = row_of(root, path)
            if progress is not None:
                progress(found[path][0])
        except FileNotFoundError:
            failed[path] = "missing"
        except (OSError, ValueError) as error:
            failed[path] = str(error)
    return found, failed


def stamp(status: os.stat_result) -> List[int]:
    """Return what tells whether a file is what it was."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def settled_at(ctime: int) -> int:
    """Return from when on a stamp tells of every later change; all in nanoseconds.

    A file that is written twice within one tick of the file system's clock keeps its stamp; so this says nothing as
    long as the clock may still show the tick of the file's last change (NFSv3 and ext3 count seconds).
    """
    return ctime + (2_000_000_000 if ctime % 1_000_000_000 == 0 else 20_000_000)


def _settled(row: Row, now: int) -> bool:
    return now > settled_at(int(row[2]))


def sha256(size: int) -> Any:  # noqa: ANN401 - what hashlib returns
    """Return a new sha256 for so many bytes: of little, by the half in C that loads at once, where there is one."""
    if size <= LITTLE:
        try:
            from _sha256 import sha256 as little  # type: ignore[import-not-found]

            return little()
        except ImportError:
            pass
    import hashlib

    return hashlib.sha256()


def content_digest(entries: Iterable[Tuple[str, int, str]]) -> str:
    """Return the identity of (path, size, sha256) rows: a sha256 (hex) that does not depend on their order."""
    text = dumps(sorted(list(entry) for entry in entries)).encode()
    digest = sha256(len(text))
    digest.update(text)
    found: str = digest.hexdigest()
    return found


def part_of(path: str, count: int) -> int:
    """Return which of so many parts of a folder a path belongs to."""
    return zlib.crc32(path.encode("utf-8", "surrogatepass")) % count


def part_digests(entries: Iterable[Tuple[str, int, str]], count: int) -> List[str]:
    """Return the begin of the `content_digest` of each part: enough to see where two folders differ, no proof."""
    return [part_digest(part) for part in parted(((entry[0], entry) for entry in entries), count)]


def parted(entries: Iterable[Tuple[str, Any]], count: int) -> List[List[Any]]:
    """Sort what belongs to paths into the parts of a folder."""
    parts = [[] for _ in range(count)]  # type: List[List[Any]]
    for path, entry in entries:
        parts[part_of(path, count)].append(entry)
    return parts


def part_digest(entries: Iterable[Any]) -> str:
    """Return the begin of a part's `content_digest`."""
    return content_digest(entries)[:12]


def read_json(path: str) -> Json:
    """Return what a JSON file holds; None when there is none, or none that can be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY), encoding="utf-8") as stream:
            return loads(stream.read())
    except (OSError, ValueError):
        return None


def write_json(path: str, document: Json, mode: int = 0o644) -> None:
    """Replace a JSON file atomically and durably."""
    scratch = "%s.%d.part" % (path, os.getpid())
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(dumps(document))
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(scratch, path)  # noqa: PTH104 - here and in what runs with it: pathlib takes longer to load
    except BaseException:
        os.unlink(scratch)  # noqa: PTH108
        raise
