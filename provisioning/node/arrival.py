"""Files of one folder as they come down a stream: proven while they are written, named when all of them are right."""

from __future__ import annotations

import contextlib
import os

from provisioning.node import land, landing, tree
from provisioning.node.room import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    Wanted = Tuple[str, int, str]
    """Path, size, sha256."""


class Folder:
    """A folder that files arrive in.

    Parameters
    ----------
    target : str
    last : list of str
        Paths that get their names after all others.
    rights : Rights or None
    """

    def __init__(self, target: str, last: List[str], rights: Optional[landing.Rights] = None) -> None:
        self.target = target
        self.rights = rights or landing.Rights()
        self.last = [tree.safe_path(path) for path in last]
        self.stage = landing.stage(target)
        self.marker = landing.read_marker(target)
        self.present: Dict[str, tree.Row] = {}
        self.staged: Dict[str, tree.Row] = {}
        self.bad: Dict[str, str] = {}
        self._near: Tuple[Tuple[str, ...], List[int]] = ((), [])

    def look(self, progress: Callable[[int], None]) -> None:
        """Read what an interrupted transfer has left whole."""
        whole, _ = self._walk()
        self.staged, _ = tree.rows(self.stage, whole, {}, progress)

    def _walk(self) -> Tuple[List[str], Dict[str, int]]:
        """Return the files of the stage, and the bytes of those that came in part."""
        partial: Dict[str, int] = {}
        whole: List[str] = []
        for base, _, names in os.walk(self.stage):
            parts = base[len(self.stage) + 1 :].split("/") if base != self.stage else []
            half = bool(parts) and parts[-1] == land.PARTIAL
            for name in names:
                path = "/".join([*(parts[:-1] if half else parts), name])
                if half:
                    partial[path] = os.lstat(base + "/" + name).st_size
                else:
                    whole.append(path)
        return whole, partial

    def state(self) -> Dict[str, Any]:
        """Say what has come without having got its name, and what room there is."""
        # no pathlib here and below: it takes longer to load than a file to arrive
        foreign = self.marker is None and os.path.isdir(self.target) and not _OURS.issuperset(os.listdir(self.target))  # noqa: PTH112, PTH208
        return {
            "staged": [[path, row[0], row[4]] for path, row in self.staged.items()],
            "partial": self._walk()[1],
            "foreign": foreign,
            "room": room(self.target),
        }

    def compare(self, files: List[Wanted], progress: Callable[[int], None]) -> List[str]:
        """Return which files are right already in a folder that is not ours yet; refuse one that holds other bytes."""
        found, _ = tree.rows(self.target, [path for path, _, _ in files], {}, progress)
        wanted = {path: digest for path, _, digest in files}
        land.refuse_foreign(self.target, sorted(path for path, row in found.items() if row[4] != wanted[path]))
        self.present.update(found)
        return sorted(found)

    def lacks(self, path: str, digest: str) -> bool:
        """Say whether a file has to come; what is there is written down."""
        known = {} if self.marker is None else self.marker["files"]
        if path not in self.present and os.path.lexists(self.target + "/" + path):
            found, _ = tree.rows(self.target, [path], known)
            if path in found and found[path][4] != digest and self.marker is None:
                land.refuse_foreign(self.target, [path])
            self.present.update(found)
        if path in self.present and self.present[path][4] == digest:
            return False
        self.present.pop(path, None)
        staged = self.staged.get(path)
        if staged is not None and staged[4] == digest:
            return False
        self.staged.pop(path, None)
        return True

    def link(self, path: str, digest: str) -> None:
        """Make a link, which needs no bytes."""
        target = tree.safe_link(path, digest[len(tree.LINK) :])
        *above, name = path.split("/")
        folder = self.near(tuple(above))[0]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        os.symlink(target, name, dir_fd=folder)
        self.staged[path] = tree.row_of(self.stage, path)

    def begin(self, path: str, size: int, digest: str, offset: int) -> "Incoming":
        """Open a file that comes, from its byte `offset` on."""
        return Incoming(self, path, size, digest, offset)

    def near(self, above: Tuple[str, ...]) -> List[int]:
        """Return the folder of the stage that files of one folder arrive in, and the one for what came in part of them.

        Files come folder by folder, so the last one stays open.
        """
        if self._near[0] != above or not self._near[1]:
            self.leave()
            os.makedirs(self.stage, exist_ok=True)  # noqa: PTH103
            for parts in (above, (*above, land.PARTIAL)):
                self._near[1].append(tree.open_folder(self.stage, parts, create=True))
            self._near = (above, self._near[1])
        return self._near[1]

    def leave(self) -> None:
        """Close what is open between files."""
        for descriptor in self._near[1]:
            os.close(descriptor)
        self._near = ((), [])

    def settle(self) -> int:
        """Give all files their names; return how many they were."""
        self.leave()
        self.marker = land.place(self.target, self.staged, self.present, self.last, self.rights)
        count = len(self.staged)
        self.present.update(self.staged)
        self.staged = {}
        return count


_OURS = {landing.CONTROL, ".timeeval-lock"}


class Incoming:
    """One file on its way. What came of it before an interruption is read again, for only the whole is proven."""

    def __init__(self, folder: Folder, path: str, size: int, digest: str, offset: int) -> None:
        *above, self._name = path.split("/")
        self._folder, self._path, self._size, self._wanted = folder, path, size, digest
        self._digest = tree.sha256(size)
        self._above, self._half = folder.near(tuple(above))
        self._file = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644, dir_fd=self._half)
        folder.rights.on_file(self._file)
        self.at = self._read_before(offset)
        os.ftruncate(self._file, self.at)

    def _read_before(self, offset: int) -> int:
        at = 0
        while at < offset:
            piece = os.read(self._file, min(tree.CHUNK, offset - at))
            if not piece:
                raise ValueError("%s has only %d bytes here, not %d" % (self._path, at, offset))
            self._digest.update(piece)
            at += len(piece)
        return at

    def write(self, piece: memoryview) -> None:
        """Take the next bytes."""
        self._digest.update(piece)
        self.at += len(piece)
        while piece:
            piece = piece[os.write(self._file, piece) :]

    def done(self) -> bool:
        """End a file of which everything has come; say whether it is what was announced."""
        try:
            if self._digest.hexdigest() != self._wanted:
                os.unlink(self._name, dir_fd=self._half)
                self._folder.bad[self._path] = "arrived with other bytes"
                return False
            os.rename(self._name, self._name, src_dir_fd=self._half, dst_dir_fd=self._above)
            self._folder.staged[self._path] = [*tree.stamp(os.fstat(self._file)), self._wanted]
            self._folder.bad.pop(self._path, None)
            return True
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file; what came of it stays for the next time."""
        os.close(self._file)


class Sorter:
    """Cuts the blocks of a stream into the files of its orders, and keeps those that are lacked here."""

    def __init__(self, folders: Dict[int, Folder]) -> None:
        self._folders = folders
        self._coming: List[Tuple[int, str, int, str, int]] = []
        self._next = 0
        self._open: Optional[Incoming] = None
        self._at = 0
        self.files = self.size = 0

    def order(self, rows: List[Any]) -> None:
        """Take an order."""
        for parcel, path, size, digest, offset in rows:
            self._coming.append((int(parcel), tree.safe_path(path), int(size), str(digest), int(offset)))
        self._skip()

    def _skip(self) -> None:
        """Go over files of which nothing travels."""
        while self._open is None and self._next < len(self._coming):
            parcel, path, size, digest, offset = self._coming[self._next]
            folder = self._folders.get(parcel)
            lacks = folder is not None and folder.lacks(path, digest)
            if folder is not None and lacks and digest.startswith(tree.LINK):
                folder.link(path, digest)
                self.files += 1
            elif folder is not None and lacks:
                self._open = folder.begin(path, size, digest, offset)
            if offset < size:
                self._at = offset
                return
            self._end()

    def _end(self) -> None:
        if self._open is not None:
            incoming, self._open = self._open, None
            if incoming.done():
                self.files += 1
        self._next += 1

    def take(self, block: bytes) -> None:
        """Take the next bytes."""
        rest = memoryview(block)
        while rest:
            if self._next >= len(self._coming):
                raise ValueError("more bytes came than were announced")
            size = self._coming[self._next][2]
            piece = rest[: size - self._at]
            if self._open is not None:
                self._open.write(piece)
                self.size += len(piece)
            self._at += len(piece)
            rest = rest[len(piece) :]
            if self._at == size:
                self._end()
                self._skip()

    def finish(self) -> None:
        """Check that everything that was announced has come."""
        if self._next < len(self._coming):
            raise ValueError("%d files were announced and did not come" % (len(self._coming) - self._next))

    def close(self) -> None:
        """End, perhaps in the midst of a stream."""
        if self._open is not None:
            self._open.close()
            self._open = None
        for folder in self._folders.values():
            folder.leave()
