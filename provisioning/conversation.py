"""The line to a program that runs on a node: how it begins, what is said over it, and the ways in which it ends."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from provisioning import frames
from provisioning.endings import ended_early, failure, no_python, silent, understood
from provisioning.errors import NodeError, ProvisionError
from provisioning.sources import pack

if TYPE_CHECKING:
    from provisioning.wires import Wire

__all__ = ["Conversation", "Data"]

log = logging.getLogger(__name__)

PIECE = 1 << 18
T = TypeVar("T")
Data = BinaryIO | Iterable[bytes]


class Conversation:
    """A program that runs on a node, and the line to it. Ends with the program or with `close`.

    Parameters
    ----------
    wire : Wire
        Bytes to and from `/bin/sh` on the node.
    host : str
        Named in errors.
    program : str
    args : mapping
    timeout : float
        Longest silence of the program, in seconds.
    also : sequence of str
        Modules that travel along with the program.
    said : bytes or None
        What the node has answered to the first line; None when that was not sent yet, or was read already.
    decoder : Decoder or None
        Of a line on which an earlier program has ended well, and which goes on with this one.
    keep : str or None
        The node's folder for programs that other commands will need again.
    on_idle : callable or None
        Gets the line when the program has ended well, instead of its end: another can be run on it.

    Attributes
    ----------
    result : dict or None
        What the program returned, once `receive` has returned None.
    """

    def __init__(
        self,
        wire: Wire,
        host: str,
        program: str,
        args: Mapping[str, Any],
        timeout: float,
        *,
        also: Sequence[str] = (),
        said: bytes | None = None,
        decoder: frames.Decoder | None = None,
        keep: str | None = None,
        on_idle: Callable[[Wire, frames.Decoder], None] | None = None,
    ) -> None:
        self.host = host
        self.program = program
        self.result: dict[str, Any] | None = None
        self._wire = wire
        self._timeout = timeout
        self._on_idle = on_idle
        self._handed_on = False
        self._decoder = frames.Decoder() if decoder is None else decoder
        self._sending = threading.Lock()
        try:
            if decoder is None:
                self._meet(said, keep)
            self._begin(args, also, keep)
        except BaseException:
            wire.close()
            raise

    def _meet(self, said: bytes | None, keep: str | None) -> None:
        """Have the node get ready for a program."""
        # Who does not listen may yet have said why: the reader meets the end of the line as well, and what came before.
        if said is None:
            with contextlib.suppress(OSError):
                self._wire.write(frames.FIRST_LINE)
        else:
            self._feed(said)
        while self._decoder.word is None:
            self._read(time.monotonic() + self._timeout)
        if self._decoder.noise:
            log.debug("%s: before the program: %r", self.host, self._decoder.noise[-2000:])
        if self._decoder.word != "ready":
            raise no_python(self.host)
        known = False
        if keep is not None:
            with contextlib.suppress(OSError):
                self._wire.write(frames.bootstrap_kept(keep))
            known = self._awaited(self._decoder.answer)
        if not known:
            with contextlib.suppress(OSError):
                self._wire.write(frames.bootstrap())

    def _awaited(self, look: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + self._timeout
        try:
            while (found := look()) is None:
                self._read(deadline)
        except ValueError as error:
            self.close()
            raise NodeError(f"{self.program}: {error}", host=self.host) from error
        return found

    def _begin(self, args: Mapping[str, Any], also: Sequence[str], keep: str | None) -> None:
        """Bring the program to run; it travels only to a node that has not kept it."""
        modules = pack(self.program, *also)
        with contextlib.suppress(OSError):
            self._wire.write(frames.request(self.program, args, modules, keep, more=self._on_idle is not None))
        answer = self._awaited(self._decoder.message)
        if isinstance(error := answer.get("error"), dict):
            raise failure(error, self.host, self.program, self._wire.stderr())
        if not answer.get("have"):
            with contextlib.suppress(OSError):
                self._wire.write(frames.data(modules.data))

    def send(self, message: Mapping[str, Any]) -> None:
        """Send the program a message; may be called from any thread."""
        self._write(frames.control(message))

    def send_data(self, source: Data) -> None:
        """Send the program bytes, and their end."""
        for piece in _pieces(source):
            self._write(frames.data(piece))
        self._write(frames.data(b""))

    def send_piece(self, piece: bytes) -> None:
        """Send the program some bytes, among messages; who wants no end of the data needs none."""
        self._write(frames.data(piece))

    def receive(self) -> dict[str, Any] | None:
        """Wait for the program's next event.

        Returns
        -------
        dict or None
            None when the program has ended well; `result` then holds what it returned.

        Raises
        ------
        NodeError
            When the program raised, died, or was silent for too long; it is ended then.
        UnreachableError
            When the node was lost.
        """
        if self.result is not None:
            return None
        message = self._awaited(self._decoder.message)
        kind, said = understood(message, self.host, self.program, self._wire.stderr)
        if kind == "event":
            return said
        self.result = said
        return None

    def _read(self, deadline: float) -> None:
        try:
            piece = self._wire.read(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            self.close()
            raise silent(self.host, self.program, self._timeout) from error
        if not piece:
            self._lost()
        self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        try:
            self._decoder.feed(piece)
        except ValueError as error:
            self.close()
            raise NodeError(str(error), host=self.host, remedy="look at its login shell's start-up files") from error

    def _write(self, piece: bytes) -> None:
        try:
            with self._sending:
                self._wire.write(piece)
        except OSError:
            self._lost()

    def _lost(self) -> None:
        status = self._wire.status()
        tail = self._wire.stderr()
        noise = self._decoder.noise.decode("utf-8", "replace") if self._decoder.word is None else ""
        refusal = self._wire.refusal() if self._decoder.word is None and not noise else None
        self.close()
        if refusal is not None:
            raise refusal
        raise ended_early(self.host, self.program, status=status, noise=noise, tail=tail)

    def part(self, message: Mapping[str, Any], seconds: float) -> None:
        """Ask the program to end, and end it where it has not within so many seconds."""
        self._timeout = seconds
        with contextlib.suppress(ProvisionError):
            if self.result is None:
                self.send(message)
            while self.receive() is not None:
                pass
        self.close()

    def close(self) -> None:
        """End the program if it still runs, and the line unless somebody goes on with it."""
        if self._handed_on:
            return
        if self.result is None:
            self._wire.close()
        elif self._on_idle is None:
            self._wire.release()
        else:
            self._handed_on = True
            self._on_idle(self._wire, self._decoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pieces(source: Data) -> Iterator[bytes]:
    if not hasattr(source, "read"):
        yield from (piece for piece in source if piece)
        return
    while piece := source.read(PIECE):
        yield piece
