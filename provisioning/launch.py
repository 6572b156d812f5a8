"""How anything runs on a node: a program's source goes out over one connection, its events and its result come back.

No value ever stands on a remote command line: the login shell gets `/bin/sh`, everything else follows on its standard
input. The driver's own node is spoken to in the very same way, through a local process.
"""

from __future__ import annotations

import contextlib
import functools
import resource
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from provisioning import frames
from provisioning.conversation import Conversation, Data
from provisioning.errors import ProvisionError
from provisioning.shapes import shaped
from provisioning.ssh import Endpoint, explain, resolve
from provisioning.ssh_config import ask_ahead
from provisioning.wires import LocalWire, SSHWire, Wire, retire

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.locks import Held
    from provisioning.process import Process, start
    from provisioning.shapes import Shape

__all__ = ["Ahead", "Conversation", "Process", "Session", "open_session", "start"]

MOST_FILES = 1 << 14
LOGINS = 3
"""Times ``connect_timeout``: a connection that is kept may first have to turn out to be dead, and a new one be made."""


class Session:
    """One connection to one node, for one command; programs run over it one after another or at the same time.

    Parameters
    ----------
    node : Node
    timeout : float
        Longest silence of a program, in seconds, where a call does not say another.
    endpoint : Endpoint or None
        How the node is reached; None for the driver's own node.
    keep : str or None
        Folder of the node for programs that other commands will need again.

    Attributes
    ----------
    held : Held or None
        Locks of folders there, as long as a command holds them.
    """

    def __init__(self, node: Node, timeout: float, endpoint: Endpoint | None = None, keep: str | None = None) -> None:
        self.node = node
        self.held: Held | None = None
        self._timeout = timeout
        self._endpoint = endpoint
        self._keep = keep
        self._ready: tuple[Wire, bytes] | None = None
        self._idle: list[tuple[Wire, frames.Decoder]] = []
        self._wires: list[Wire] = []
        self._lock = threading.Lock()
        self._closed = False
        self._calling: Wire | None = None

    def dial(self) -> None:
        """Begin to log in, and have the node get ready for the first program as soon as we are let in."""
        if self._endpoint is not None:
            self._calling = self._wire()
            with contextlib.suppress(OSError):  # who does not listen may yet have said why, which `connect` hears
                self._calling.write(frames.FIRST_LINE)

    def connect(self) -> None:
        """Wait until we are logged in.

        Raises
        ------
        UnreachableError
            With cause and remedy.
        """
        if self._calling is None:
            self.dial()
        wire, self._calling = self._calling, None
        if self._endpoint is None or wire is None:
            return
        try:
            said = wire.read(LOGINS * self._endpoint.connect_timeout)
        except TimeoutError as error:
            wire.close()
            raise explain(error, self._endpoint) from error
        if not said and (refusal := wire.refusal()) is not None:
            wire.close()
            raise refusal
        self._ready = (wire, said)

    def call(
        self,
        program: str,
        args: Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        data: Data | None = None,
        also: Sequence[str] = (),
        more: bool = False,
        shape: Shape = dict,
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
        more : bool
            Whether the interpreter there is kept for a next program: of one that has no threads of its own.
        shape : Shape
            What the answer must look like.

        Returns
        -------
        dict

        Raises
        ------
        NodeError
            When the program raised, died, was silent for too long, or answers with another shape.
        UnreachableError
            When the node was lost.
        """
        with self.open(program, args, timeout=timeout, also=also, more=more) as conversation:
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
            return shaped(conversation.result or {}, shape, self.node.name, program)

    def open(
        self,
        program: str,
        args: Mapping[str, Any],
        *,
        timeout: float | None = None,
        also: Sequence[str] = (),
        more: bool = False,
    ) -> Conversation:
        """Start a program on the node and return the line to it, for more than one question and answer."""
        silence = self._timeout if timeout is None else timeout
        with self._lock:
            idle = self._idle.pop() if self._idle else None
            ready, self._ready = (self._ready, None) if idle is None else (None, self._ready)
        wire, decoder = (None, None) if idle is None else idle
        wire, said = ready if ready is not None else (wire or self._wire(), None)
        on_idle = self._go_on if more else None
        name = self.node.name
        return Conversation(
            wire, name, program, args, silence, also=also, said=said, decoder=decoder, keep=self._keep, on_idle=on_idle
        )

    def _go_on(self, wire: Wire, decoder: frames.Decoder) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append((wire, decoder))
                return
        wire.release()

    def _wire(self) -> Wire:
        wire = LocalWire() if self._endpoint is None else SSHWire(self._endpoint)
        with self._lock:
            self._wires = [each for each in self._wires if not each.closed]
            self._wires.append(wire)
            closed = self._closed
        if closed:
            wire.close()
        return wire

    def close(self) -> None:
        """End all that still runs there; the connection itself is kept for a while."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            # whose program has said its last ends by itself
            wires = [each for each in self._wires if not each.closed and all(each is not wire for wire, _ in idle)]
        for wire, _ in idle:
            wire.release()
        closing = [threading.Thread(target=wire.close) for wire in wires]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

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


def open_session(cluster: Cluster, node: Node, *, anew: bool = False, trace: bool = True) -> Session:
    """Connect to a node; the driver's own node needs no connection.

    Parameters
    ----------
    cluster : Cluster
    node : Node
    anew : bool
        Log in now, whatever connection an earlier command has left: groups, keys and sshd may have changed since.
    trace : bool
        Whether the node may keep our programs for the next command.

    Returns
    -------
    Session
        To be used as a context manager.

    Raises
    ------
    UnreachableError
        With cause and remedy.
    """
    session = _session(cluster, node, anew=anew, trace=trace)
    session.connect()
    return session


def _session(cluster: Cluster, node: Node, *, anew: bool = False, trace: bool = True) -> Session:
    if node.is_driver:
        return Session(node, cluster.limits.command_timeout)
    _allow_many_files()
    endpoint = resolve(cluster, node)
    if anew:
        retire(endpoint)
    keep = str(cluster.state / "programs") if trace else None
    return Session(node, cluster.limits.command_timeout, endpoint, keep)


class Ahead:
    """Nodes that a command will need, logged in to while it is still being read what for.

    Whatever goes wrong here is met again, and told, by who connects.

    Parameters
    ----------
    cluster : Cluster
    nodes : tuple of Node
        As many of them as may be connected to at a time are begun with.
    begin : bool
        Whether that is wanted: who looks at the access to nodes is let in by nothing but a new login.
    """

    def __init__(self, cluster: Cluster, nodes: tuple[Node, ...], *, begin: bool = True) -> None:
        self.cluster = cluster
        self.nodes = nodes
        self._begun: dict[str, Session] = {}
        remote = [node for node in nodes if begin and not node.is_driver]
        first = remote[: cluster.limits.parallel]
        ask_ahead(cluster, first)
        for node in first:
            with contextlib.suppress(ProvisionError, OSError):
                session = _session(cluster, node)
                session.dial()
                self._begun[node.name] = session

    def open(self, node: Node) -> Session:
        """Return the open session of a node, as `open_session`."""
        session = self._begun.pop(node.name, None)
        if session is None:
            return open_session(self.cluster, node)
        session.connect()
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up where nobody has come for the session."""
        for session in self._begun.values():
            session.close()


@functools.lru_cache(maxsize=1)
def _allow_many_files() -> None:
    """Let this process have as many descriptors open as it may: each line to a node takes some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def __getattr__(name: str) -> Any:  # noqa: ANN401 - asyncio is loaded by who needs it
    if name in {"Process", "start"}:
        from provisioning import process

        return getattr(process, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
