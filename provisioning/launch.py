"""How anything runs on a node: a program's source goes out over one connection, its events and its result come back.

No value ever stands on a remote command line: the login shell gets `/bin/sh`, everything else follows on its standard
input. The driver's own node is spoken to in the very same way, through a local process.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from provisioning import frames
from provisioning.endings import ended_early, failure, no_python, silent
from provisioning.errors import NodeError, ProvisionError
from provisioning.process import Process, start
from provisioning.sources import collect
from provisioning.ssh import Endpoint, explain, fabric_connection, resolve
from provisioning.wires import LocalWire, SSHWire, Wire

if TYPE_CHECKING:
    import fabric

    from provisioning.inventory import Cluster, Node

__all__ = ["Conversation", "Process", "Session", "open_session", "start"]

log = logging.getLogger(__name__)

PIECE = 1 << 18
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

    Attributes
    ----------
    result : dict or None
        What the program returned, once `receive` has returned None.
    """

    def __init__(
        self, wire: Wire, host: str, program: str, args: Mapping[str, Any], timeout: float, *, also: Sequence[str] = ()
    ) -> None:
        self.host = host
        self.program = program
        self.result: dict[str, Any] | None = None
        self._wire = wire
        self._timeout = timeout
        self._decoder = frames.Decoder()
        self._sending = threading.Lock()
        try:
            self._begin(args, also)
        except BaseException:
            wire.close()
            raise

    def _begin(self, args: Mapping[str, Any], also: Sequence[str]) -> None:
        modules = collect(self.program)
        for other in also:
            modules = {**modules, **collect(other)}
        # Who does not listen may yet have said why: the reader meets the end of the line as well, and what came before.
        with contextlib.suppress(OSError):
            self._wire.write(frames.FIRST_LINE)
        while self._decoder.word is None:
            self._read(time.monotonic() + self._timeout)
        if self._decoder.noise:
            log.debug("%s: before the program: %r", self.host, self._decoder.noise[-2000:])
        if self._decoder.word != "ready":
            raise no_python(self.host)
        with contextlib.suppress(OSError):
            self._wire.write(frames.opening(self.program, args, modules))

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
        deadline = time.monotonic() + self._timeout
        while (message := self._message()) is None:
            self._read(deadline)
        if "event" in message:
            event: dict[str, Any] = message["event"]
            return event
        if "error" in message:
            raise failure(message["error"], self.host, self.program, self._wire.stderr())
        self.result = message["result"]
        return None

    def _message(self) -> dict[str, Any] | None:
        try:
            return self._decoder.message()
        except ValueError as error:
            self.close()
            raise NodeError(f"{self.program}: {error}", host=self.host) from error

    def _read(self, deadline: float) -> None:
        try:
            piece = self._wire.read(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            self.close()
            raise silent(self.host, self.program, self._timeout) from error
        if not piece:
            self._lost()
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
        self.close()
        raise ended_early(self.host, self.program, status=status, noise=noise, tail=tail)

    def close(self) -> None:
        """End the program if it still runs, and the line."""
        self._wire.close()

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


class Session:
    """One connection to one node, for one command; programs run over it one after another or at the same time.

    Parameters
    ----------
    node : Node
    timeout : float
        Longest silence of a program, in seconds, where a call does not say another.
    endpoint : Endpoint or None
        How the node is reached; None for the driver's own node.
    connection : fabric.Connection or None
        Open connection to `endpoint`.
    """

    def __init__(
        self, node: Node, timeout: float, endpoint: Endpoint | None = None, connection: fabric.Connection | None = None
    ) -> None:
        self.node = node
        self._timeout = timeout
        self._endpoint = endpoint
        self._connection = connection

    def call(
        self,
        program: str,
        args: Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        data: Data | None = None,
        also: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Run a program on the node and wait for its result.

        Parameters
        ----------
        program : str
            Module of any importable package with ``main(args: dict, channel) -> dict``, written for Python 3.8 and the
            standard library; it may import modules of its own package.
        args : mapping
            JSON values.
        timeout : float, optional
            Longest silence of the program, in seconds.
        on_event : callable, optional
            Gets what the program tells while it runs.
        data : binary file or iterable of bytes, optional
            Sent to the program's ``channel.data()``.
        also : sequence of str
            Modules that the program imports by names which `args` tell.

        Returns
        -------
        dict

        Raises
        ------
        NodeError
            When the program raised, died, or was silent for too long.
        UnreachableError
            When the node was lost.
        """
        with self.open(program, args, timeout=timeout, also=also) as conversation:
            feeder = _Feeder(conversation, data) if data is not None else None
            try:
                while (event := conversation.receive()) is not None:
                    if on_event is not None:
                        on_event(event)
            except ProvisionError as error:
                # A source that cannot be read is the cause; what the node says then is only its consequence.
                if feeder is not None and feeder.error is not None:
                    raise feeder.error from error
                raise
            return conversation.result or {}

    def open(
        self, program: str, args: Mapping[str, Any], *, timeout: float | None = None, also: Sequence[str] = ()
    ) -> Conversation:
        """Start a program on the node and return the line to it, for more than one question and answer."""
        silence = self._timeout if timeout is None else timeout
        return Conversation(self._wire(), self.node.name, program, args, silence, also=also)

    def _wire(self) -> Wire:
        if self._connection is None or self._endpoint is None:
            return LocalWire()
        try:
            return SSHWire(self._connection)
        except Exception as error:
            raise explain(error, self._endpoint) from error

    def close(self) -> None:
        """End the connection and with it all that still runs over it."""
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Feeder:
    """Sends data while the caller reads: a node that tells much must never wait for one that sends much."""

    def __init__(self, conversation: Conversation, source: Data) -> None:
        self.error: Exception | None = None
        self._conversation = conversation
        self._source = source
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._conversation.send_data(self._source)
        except ProvisionError:
            return  # the reader meets the lost line as well, and says so
        except Exception as error:  # noqa: BLE001 - whatever the source raises belongs to the caller's thread
            self.error = error
            with contextlib.suppress(OSError):
                self._conversation.close()


def open_session(cluster: Cluster, node: Node) -> Session:
    """Connect to a node; the driver's own node needs no connection.

    Parameters
    ----------
    cluster : Cluster
    node : Node

    Returns
    -------
    Session
        To be used as a context manager.

    Raises
    ------
    UnreachableError
        With cause and remedy.
    """
    if node.is_driver:
        return Session(node, cluster.limits.command_timeout)
    endpoint = resolve(cluster, node)
    return Session(node, cluster.limits.command_timeout, endpoint, fabric_connection(endpoint))
