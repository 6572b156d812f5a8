"""Take layers while they are packed on the driver, and give them to the engine while the next ones come (>= 3.8).

Each layer goes two ways at once: into the store, and unpacked into ``docker load`` as the top of an image without a
name that ends with it. What has been loaded so is named to the driver; the images themselves are loaded afterwards, as
ever, from what is still lacking then, and are proven there: nothing that happens here is believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.archive import Counted, DamagedError, add, blob, engine, put
from provisioning.node.tools import BEAT, RefusedError
from provisioning.node.tree import read_json, write_json
from provisioning.node.zstd import LONG

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

MESSAGE, BYTES = b"J", b"B"
ENOUGH = 16 << 20
"""Bytes of layers from which on they are given to the engine before more is collected."""
_WAITING = 8


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Receive pieces: ``J`` and a message, ``B`` and bytes of the layer that the message before has begun.

    Parameters
    ----------
    args : dict
        ``store`` (folder), ``tops`` (file in it, see `note_top`), ``machine`` (architecture as Docker names it).
    channel : Channel
        Its data are the pieces. Messages: {"layer", "size" (of its archive, or None), "stack" (layers below it, and
        itself)}; {"path", "sha256"} at a layer's end; {"drop": true} when it was not the layer after all.

    Returns
    -------
    dict
        ``loaded``: layers that the engine took; ``held``: {layer: path} of those that lie in the store now.
    """
    store = Path(args["store"])
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".coming-", dir=str(store)) as scratch:
        intake = Intake(store, Path(scratch), (args["machine"], store / args["tops"]), channel)
        try:
            for piece in channel.data():
                if piece[:1] == BYTES:
                    intake.take(memoryview(piece)[1:])
                else:
                    intake.obey(json.loads(piece[1:]))
            return {"loaded": intake.loaded(), "held": intake.held}
        finally:
            intake.close()


class Intake:
    """The layer that comes, and the loads that go on.

    Parameters
    ----------
    store, scratch : Path
        Where layers go, and a folder beside them for the one that comes.
    for_loads : tuple of (str, Path)
        What `Load` needs: architecture, and the file of notes.
    channel : Channel

    Attributes
    ----------
    held : dict
        Layer -> path in the store.
    """

    def __init__(self, store: Path, scratch: Path, for_loads: tuple[str, Path], channel: Channel) -> None:
        self.held: dict[str, str] = {}
        self._store, self._scratch, self._for_loads, self._channel = store, scratch, for_loads, channel
        self._layer = ""
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._got = 0
        self._loads: list[Load] = []

    def obey(self, said: dict[str, Any]) -> None:
        """Begin or end a layer."""
        if "layer" in said:
            self._layer = said["layer"]
            self._file = Path(self._scratch, "layer").open("wb")  # noqa: SIM115 - closed at the layer's end
            self._digest = hashlib.sha256()
            load = self._load_for(said["size"], said["stack"])
            if load is not None:
                load.begin(said["layer"], said["size"], said["stack"])
            self._channel.event({"title": "receive layers", "done": self._got, "total": self._got, "unit": "B"})
        elif "path" in said:
            self._end(said["path"], said["sha256"])
        else:
            self._drop()

    def _load_for(self, size: int | None, stack: list[str]) -> Load | None:
        """Return the load that the next layer goes into; None once one has failed, or where its size is not known."""
        last = self._loads[-1] if self._loads else None
        if size is None or (last is not None and last.failed):
            if last is not None:
                last.fail()
            return None
        if last is not None and not last.below(stack):
            last.finish()
        if last is None or last.closing:
            self._loads.append(Load(*self._for_loads, last))
        return self._loads[-1]

    def take(self, data: memoryview) -> None:
        """Take bytes of the layer that comes."""
        if self._file is None:
            raise ValueError("bytes came that belong to no layer")
        self._file.write(data)
        self._digest.update(data)
        self._got += len(data)
        if self._loads:
            self._loads[-1].take(bytes(data))

    def _end(self, path: str, sha256: str) -> None:
        self._shut()
        if self._digest.hexdigest() != sha256 or path.partition("/")[0] != sha256[:16] or path.count("/") != 1:
            raise RefusedError("a layer arrived with other bytes than were sent", "run it again")
        final = self._store / path
        final.parent.mkdir(exist_ok=True)
        (self._scratch / "layer").chmod(0o644)
        (self._scratch / "layer").replace(final)
        self.held[self._layer] = path
        if self._loads:
            self._loads[-1].end()

    def _drop(self) -> None:
        self._shut()
        if self._loads:
            self._loads[-1].fail()

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def loaded(self) -> list[str]:
        """Wait for the engine; return what it took."""
        if self._loads:
            self._loads[-1].finish()
        for load in self._loads:
            while load.thread.is_alive():
                load.thread.join(BEAT)
                self._channel.event({"title": "load layers", "done": 0, "total": 0})
        return [layer for load in self._loads if not load.failed for layer in load.layers]

    def close(self) -> None:
        """End what still goes on; leave no image behind that only stood for layers."""
        self._shut()
        for load in self._loads:
            load.fail()
            load.thread.join(BEAT)


class Load:
    """Layers on their way into the engine as an image without a name.

    Parameters
    ----------
    machine : str
    tops : Path
        Where images without a name are noted before they come into being.
    before : Load or None
        The one below it: it must be done before the engine can take this one.
    """

    def __init__(self, machine: str, tops: Path, before: Load | None) -> None:
        self.layers: list[str] = []
        self.image = ""
        self.failed = self.closing = False
        self._machine, self._tops, self._before = machine, tops, before
        self._stack: list[str] = []
        self._size = 0
        self._unpacker: subprocess.Popen[bytes] | None = None
        # one waits for the other: a layer is handed over when it begins, and its bytes go through the unpacker
        self._coming: queue.Queue[tuple[str, int, subprocess.Popen[bytes]] | None] = queue.Queue(_WAITING)
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.thread.start()

    def below(self, stack: list[str]) -> bool:
        """Return whether a stack of layers stands on what this has so far."""
        return stack[: len(self._stack)] == self._stack

    def begin(self, layer: str, size: int, stack: list[str]) -> None:
        """Begin a layer."""
        self._stack, self._size = stack, self._size + size
        self._unpacker = subprocess.Popen(
            ["zstd", "-q", "-d", "-c", LONG, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._coming.put((layer, size, self._unpacker))

    def take(self, data: bytes) -> None:
        """Take packed bytes of the layer."""
        if not self.failed and self._unpacker is not None and self._unpacker.stdin is not None:
            try:
                self._unpacker.stdin.write(data)
            except (OSError, ValueError):
                self.fail()

    def end(self) -> None:
        """End the layer, and with it the load when it is large enough."""
        self._close_unpacker()
        if self._size >= ENOUGH:
            self.finish()

    def _close_unpacker(self) -> None:
        if self._unpacker is not None and self._unpacker.stdin is not None:
            with contextlib.suppress(OSError):
                self._unpacker.stdin.close()

    def finish(self) -> None:
        """Take no more layers."""
        if not self.closing:
            self.closing = True
            self._coming.put(None)

    def fail(self) -> None:
        """Give it up; the layers lie in the store and are loaded from there."""
        alive = self.thread.is_alive()
        self.failed = self.failed or alive
        if self._unpacker is not None and self._unpacker.poll() is None and alive:
            self._unpacker.kill()
        self._close_unpacker()
        if alive:
            self.finish()

    def _run(self) -> None:
        try:
            with engine(lambda _done: None) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
                for layer, size, unpacker in iter(self._coming.get, None):
                    source = unpacker.stdout
                    assert source is not None  # noqa: S101 - it was asked for
                    try:
                        piece = {"layer": layer, "size": size, "path": "what came"}
                        add(archive, blob(layer), size, Counted(source, piece, 0, lambda _done: None))
                    finally:
                        source.close()
                        unpacker.kill()
                        unpacker.wait()
                    self.layers.append(layer)
                self._wait_below()
                self._name(archive)
            if self._before is not None and self._before.below(self._stack):
                remove(self._before)
        except (DamagedError, RefusedError, OSError, ValueError):
            self.failed = True
            self._drain()

    def _wait_below(self) -> None:
        if self._before is not None:
            self._before.thread.join()
        if self.failed or (self._before is not None and self._before.failed):
            raise DamagedError("the layers below it were not loaded")

    def _name(self, archive: tarfile.TarFile) -> None:
        document = {"architecture": self._machine, "os": "linux", "config": {}, "history": []}
        config = json.dumps({**document, "rootfs": {"type": "layers", "diff_ids": self._stack}}).encode()
        self.image = put(archive, config)
        note_top(self._tops, self.image)
        row = {"Config": blob(self.image), "RepoTags": None, "Layers": [blob(layer) for layer in self._stack]}
        put(archive, json.dumps([row]).encode(), "manifest.json")

    def _drain(self) -> None:
        """Let nobody wait for a load that has ended: what still comes only goes to the store."""
        while True:
            try:
                coming = self._coming.get(timeout=0 if self.closing else 1)
            except queue.Empty:
                if self.closing:
                    return
                continue
            if coming is None:
                return
            coming[2].kill()
            coming[2].wait()


def remove(load: Load | None) -> None:
    """Remove the image that stood for layers which another one stands on now."""
    if load is not None and load.image:
        with contextlib.suppress(RefusedError):
            docker.docker("image", "rm", "--no-prune", load.image)


def note_top(tops: Path, image: str) -> None:
    """Note an image that only stands for layers, so that `provisioning.node.settle_images` removes it in any case."""
    noted = read_json(str(tops)) or []
    write_json(str(tops), [*noted, image])
