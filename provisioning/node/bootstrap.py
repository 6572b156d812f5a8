"""What Python on a node runs first: it takes a program's source from the driver, runs it and answers in frames.

A frame is a head of five bytes (length of the body, big-endian, and one byte for its kind) and the body: JSON for
control (``J``), raw bytes for data (``D``; an empty one ends the data). Nobody here reads ahead of a frame, so that a
program may hand the very same pipes to another (`Channel.become`).
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # these two are the halves in C, which load at once
import _thread
import os
import select
import struct
import sys
import time

from provisioning.node.programs import compiled, keep, keep_code, kept, kept_code, origin, sha256, unpacked
from provisioning.node.quick import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone would double the time until a program runs
    from importlib.machinery import ModuleSpec
    from types import CodeType, FrameType, ModuleType
    from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

else:
    ModuleSpec = type(sys.__spec__)

HEAD = struct.Struct(">Ic")
CONTROL = b"J"
DATA = b"D"
LARGEST = 1 << 28
GRACE_SECONDS = 5


class Channel:
    """A program's line to the driver.

    Parameters
    ----------
    source, sink : int
        File descriptors that are read from and written to.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._lock = _thread.allocate_lock()

    def event(self, value: Dict[str, Any]) -> None:
        """Tell the driver something while the program goes on; may be called from any thread."""
        self.send({"event": value})

    def receive(self, timeout: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """Wait for the driver's next message.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for its begin.

        Returns
        -------
        dict or None
            None when the driver is gone or has closed the line.

        Raises
        ------
        TimeoutError
        """
        if timeout is not None and not self.ready(timeout):
            raise TimeoutError("the driver said nothing for {:g} s".format(timeout))
        kind, body = self._frame()
        if kind is None:
            return None
        if kind != CONTROL:
            raise ValueError("the driver sent data where a message was due")
        message = loads(body)
        if not isinstance(message, dict):
            raise ValueError("the driver's message is not an object")
        return message

    def either(self, timeout: float) -> "Dict[str, Any] | bytes | None":
        """Wait for the driver's next message or piece of data, whichever comes; None and TimeoutError as `receive`."""
        if not self.ready(timeout):
            raise TimeoutError("the driver said nothing for {:g} s".format(timeout))
        kind, body = self._frame()
        if kind is None or kind == DATA:
            return None if kind is None else body
        message: Dict[str, Any] = loads(body)
        return message

    def piece(self) -> bytes:
        """Wait for one piece of data, which has no end of its own."""
        kind, body = self._frame()
        if kind != DATA:
            raise ValueError("the driver sent something else where data was due")
        return body

    def data(self) -> Iterator[bytes]:
        """Yield the bytes that the driver sends, up to the end of the data."""
        while True:
            kind, body = self._frame()
            if kind is None:
                raise EOFError("the driver went away in the midst of the data")
            if kind != DATA:
                raise ValueError("the driver sent a message in the midst of the data")
            if not body:
                return
            yield body

    def ready(self, timeout: float) -> bool:
        """Say whether something (or the end) can be read within so many seconds."""
        return bool(select.select([self._source], [], [], timeout)[0])

    def fileno(self) -> int:
        """Return the descriptor that is read from, for `select`; readable also when the driver is gone."""
        return self._source

    def become(self, argv: Sequence[str]) -> NoReturn:
        """Make this process another program, whose standard input and output are the line to the driver."""
        os.dup2(self._source, 0)
        os.dup2(self._sink, 1)
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell is wanted

    def detach(self) -> None:
        """Let go of the line in a forked child; while any process holds it, the driver cannot see that we ended."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._source)
        os.dup2(null, self._sink)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)

    def send(self, message: Dict[str, Any]) -> None:
        """Write one control frame."""
        body = dumps(message).encode("ascii")
        if len(body) > LARGEST:
            raise ValueError("a message of {} bytes is too large".format(len(body)))
        rest = memoryview(HEAD.pack(len(body), CONTROL) + body)
        with self._lock:
            while rest:
                rest = rest[os.write(self._sink, rest) :]

    def _frame(self) -> Tuple[Optional[bytes], bytes]:
        head = self._exactly(HEAD.size)
        if not head:
            return None, b""
        length, kind = HEAD.unpack(head)
        if length > LARGEST:
            raise ValueError("the driver announced a frame of {} bytes".format(length))
        body = self._exactly(length)
        if len(body) < length:
            return None, b""
        return kind, body

    def _exactly(self, count: int) -> bytes:
        parts: List[bytes] = []
        while count:
            part = os.read(self._source, min(count, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Sources:
    """Imports modules from source texts that the driver sent; packages above them are empty."""

    def __init__(self) -> None:
        self._modules = {}  # type: Dict[str, str | CodeType]
        self._packages = set()  # type: set[str]
        self._packs = []  # type: List[bytes]

    def add(self, packed: bytes, codes: Optional[Dict[str, CodeType]] = None) -> None:
        """Take more modules: those of a pack, and what they were compiled to where that is known."""
        modules: Dict[str, str | CodeType] = dict(codes or unpacked(packed))
        self._packs.append(packed)
        self._modules.update(modules)
        self._packages |= {
            ".".join(parts[:length])
            for parts in (name.split(".") for name in modules)
            for length in range(1, len(parts))
        }

    def find_spec(self, fullname: str, *_: object) -> Optional[ModuleSpec]:
        """Find a module among the sent ones."""
        if fullname in self._modules:
            spec = ModuleSpec(fullname, self, origin=origin(fullname))  # type: ignore[arg-type] # quacks like a Loader
            spec.has_location = True
            return spec
        if fullname in self._packages:
            return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, _: ModuleSpec) -> Optional[ModuleType]:
        """Let Python make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's source; a package has none."""
        if module.__name__ in self._modules:
            found = self._modules[module.__name__]
            code = compile(found, origin(module.__name__), "exec") if isinstance(found, str) else found
            exec(code, module.__dict__)  # noqa: S102

    def get_source(self, fullname: str) -> Optional[str]:
        """Return a source text, for tracebacks."""
        texts = (unpacked(packed).get(fullname) for packed in reversed(self._packs))
        return next((text for text in texts if text is not None), "")


def _watch(source: int) -> None:
    """End this process and its children when the driver is gone: nobody waits for their result any more."""
    poll = select.poll()
    poll.register(source, getattr(select, "POLLRDHUP", 0))
    poll.poll()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _end(number: int, _: Optional[FrameType]) -> None:
    raise SystemExit(128 + number)


def run(source: int = 0, sink: int = 1, own: "Optional[Tuple[bytes, object]]" = None) -> int:
    """Take a request from the driver, run its program, answer with its result or its error.

    Parameters
    ----------
    source, sink : int
        Descriptors of the line. They are moved away, so that what the program or its children print goes to standard
        error, and what they read is empty.
    own : tuple of (bytes, object), optional
        What the loader has read of us, and what it has made of that, to be kept for the next command.

    Returns
    -------
    int
        Exit status: 0, or 1 when the program raised.
    """
    channel = Channel(os.dup(source), os.dup(sink))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, source)
    os.close(null)
    os.dup2(2, sink)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    sources, watched = Sources(), False
    sys.meta_path.insert(0, sources)
    while True:
        request = channel.receive()
        if request is None:
            return 0 if watched else 1
        try:
            if request["modules"]:
                sources.add(*_brought(request, channel))
                if own is not None and request.get("keep") is not None:
                    keep(request["keep"], request["own"], own[0])
                    keep_code(request["keep"], request["own"], own[1])
                own = None
            __import__(request["program"])
            module = sys.modules[request["program"]]
            signal.signal(signal.SIGTERM, _end)
            if not watched and not getattr(module, "MINDS_DRIVER", False):
                _thread.start_new_thread(_watch, (channel.fileno(),))
            watched = True
            main: Callable[[Dict[str, Any], Channel], Dict[str, Any]] = module.main
            channel.send({"result": main(request["args"], channel)})
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            import traceback

            remedy = getattr(error, "remedy", None)
            plain = remedy is not None or isinstance(error, OSError)
            text = str(error) if plain else "{}: {}".format(type(error).__name__, error)
            trace = traceback.format_exc()
            channel.send(
                {"error": {"type": type(error).__name__, "message": text, "remedy": remedy, "traceback": trace}},
            )
            return 1
        if not request.get("more"):
            return 0


def _brought(request: Dict[str, Any], channel: Channel) -> "Tuple[bytes, Optional[Dict[str, CodeType]]]":
    """Return the pack of a request: kept from another command, or sent by the driver and kept for the next one.

    With it comes what its modules were compiled to, where that is kept as well.
    """
    digest, folder = request.get("pack"), request.get("keep")
    if digest is None:
        return channel.piece(), None
    made = None if folder is None else kept_code(folder, digest)
    if made is not None:
        channel.send({"have": True})
        return made[0], made[1]
    packed = None if folder is None else kept(folder, digest)
    channel.send({"have": packed is not None})
    if packed is None:
        packed = channel.piece()
        if sha256(packed) != digest:
            raise ValueError("the programs were damaged on their way")
        if folder is not None:
            keep(folder, digest, packed)
    codes = None if folder is None else compiled(unpacked(packed))
    if folder is not None and codes:
        keep_code(folder, digest, (packed, codes))
    return packed, codes
