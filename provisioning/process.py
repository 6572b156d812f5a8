"""A long-lived program on a node, spoken to from asyncio: what the Dask engine stands on.

The same line as `provisioning.launch`, over asyncssh (or a local process for the driver's own node).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from provisioning import frames
from provisioning.endings import ended_early, no_python, silent, understood
from provisioning.errors import NodeError
from provisioning.proxy import proxy_socket
from provisioning.sources import collect
from provisioning.ssh import asyncssh_options, explain, resolve

if TYPE_CHECKING:
    import asyncssh

    from provisioning.inventory import Cluster, Node
    from provisioning.ssh import Endpoint

__all__ = ["Process", "start"]

PIECE = 1 << 16
GRACE_SECONDS = 7
START_SECONDS = 30
"""Until a connected node must have brought a program to run."""


class _Reader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...


class _Line(Protocol):
    """What `Process` needs of a transport."""

    @property
    def stdout(self) -> _Reader: ...

    @property
    def stderr(self) -> _Reader: ...

    async def write(self, data: bytes) -> None: ...

    async def status(self) -> int | None: ...

    async def close(self) -> None: ...


class _LocalLine:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("the process has no pipes")
        self._process = process
        self._stdin = process.stdin
        self.stdout: _Reader = process.stdout
        self.stderr: _Reader = process.stderr

    async def write(self, data: bytes) -> None:
        self._stdin.write(data)
        await self._stdin.drain()

    async def status(self) -> int | None:
        return await self._process.wait()

    async def close(self) -> None:
        self._stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), GRACE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


class _SSHReader:
    """Reads a stream of asyncssh, whose errors are then told as Python tells those of a local pipe."""

    def __init__(self, stream: asyncssh.SSHReader[bytes]) -> None:
        self._stream = stream

    async def read(self, n: int = -1) -> bytes:
        import asyncssh

        try:
            return await self._stream.read(n)
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from error


class _SSHLine:
    def __init__(self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._connection = connection
        self._process = process
        self.stdout: _Reader = _SSHReader(process.stdout)
        self.stderr: _Reader = _SSHReader(process.stderr)

    async def write(self, data: bytes) -> None:
        import asyncssh

        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from error

    async def status(self) -> int | None:
        await self._process.wait_closed()
        return self._process.returncode

    async def close(self) -> None:
        self._process.close()
        self._connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connection.wait_closed(), GRACE_SECONDS)
        self._connection.abort()


class Process:
    """A program that runs on a node.

    Attributes
    ----------
    host : str
        Name of the node.
    result : dict or None
        What the program returned, once `receive` has returned None.
    """

    def __init__(self, line: _Line, host: str, program: str) -> None:
        self.host = host
        self.program = program
        self.result: dict[str, Any] | None = None
        self._line = line
        self._decoder = frames.Decoder()
        self._tail: collections.deque[bytes] = collections.deque(maxlen=64)
        self._drain = asyncio.create_task(self._keep_stderr())
        self._sending = asyncio.Lock()

    async def _keep_stderr(self) -> None:
        with contextlib.suppress(OSError):
            while piece := await self._line.stderr.read(PIECE):
                self._tail.append(piece)

    async def begin(self, args: Mapping[str, Any]) -> None:
        """Bring the program to run; asked once, by `start`."""
        modules = collect(self.program)
        try:
            async with asyncio.timeout(START_SECONDS):
                # Who does not listen may yet have said why: the reader meets the end of the line as well.
                with contextlib.suppress(OSError):
                    await self._line.write(frames.FIRST_LINE)
                while self._decoder.word is None:
                    await self._read()
                if self._decoder.word != "ready":
                    raise no_python(self.host)
                with contextlib.suppress(OSError):
                    await self._line.write(frames.opening(self.program, args, modules))
        except TimeoutError as error:
            raise silent(self.host, frames.SHELL, START_SECONDS) from error

    async def _read(self) -> None:
        try:
            piece = await self._line.stdout.read(PIECE)
        except OSError:
            piece = b""
        if not piece:
            await self._lost()
        try:
            self._decoder.feed(piece)
        except ValueError as error:
            raise NodeError(str(error), host=self.host) from error

    async def _lost(self) -> None:
        status: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                status = await self._line.status()
                await asyncio.shield(self._drain)
        noise = self._decoder.noise.decode("utf-8", "replace") if self._decoder.word is None else ""
        raise ended_early(self.host, self.program, status=status, noise=noise, tail=self.stderr())

    async def receive(self) -> dict[str, Any] | None:
        """Wait for the program's next event.

        Returns
        -------
        dict or None
            None when the program has ended well; `result` then holds what it returned.

        Raises
        ------
        NodeError
            When the program raised or died.
        UnreachableError
            When the node was lost.
        """
        if self.result is not None:
            return None
        while True:
            try:
                message = self._decoder.message()
            except ValueError as error:
                raise NodeError(f"{self.program}: {error}", host=self.host) from error
            if message is not None:
                break
            await self._read()
        kind, said = understood(message, self.host, self.program, self.stderr)
        if kind == "event":
            return said
        self.result = said
        return None

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send the program a message.

        Raises
        ------
        UnreachableError or NodeError
            When the line has ended.
        """
        try:
            async with self._sending:
                await self._line.write(frames.control(message))
        except OSError:
            await self._lost()

    async def wait(self) -> int:
        """Wait for the end of the program.

        Returns
        -------
        int
            Its exit status; -1 where the connection was lost before one came.
        """
        status = await self._line.status()
        return -1 if status is None else status

    def stderr(self) -> str:
        """Give the last lines of the program's standard error."""
        return "\n".join(b"".join(self._tail).decode("utf-8", "replace").splitlines()[-20:])

    async def close(self) -> None:
        """End the line; a program that does not mind the driver itself is ended with its children."""
        await self._line.close()
        self._drain.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._drain


async def start(cluster: Cluster, node: Node, program: str, args: Mapping[str, Any]) -> Process:
    """Start a long-lived program on a node, over a connection of its own.

    Parameters
    ----------
    cluster : Cluster
    node : Node
    program : str
        As in `Session.call`. With ``MINDS_DRIVER = True`` in its module it is not ended when the driver goes away, but
        sees ``channel.receive()`` return None.
    args : mapping
        JSON values; they travel on standard input alone, so secrets may be among them.

    Returns
    -------
    Process

    Raises
    ------
    UnreachableError, NodeError
        With cause and remedy.
    """
    line = await _connect(cluster, node)
    process = Process(line, node.name, program)
    try:
        await process.begin(args)
    except BaseException:
        await process.close()
        raise
    return process


async def _connect(cluster: Cluster, node: Node) -> _Line:
    if node.is_driver:
        pipe = asyncio.subprocess.PIPE
        return _LocalLine(
            await asyncio.create_subprocess_exec(
                frames.SHELL, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        )
    import asyncssh

    endpoint = await asyncio.to_thread(resolve, cluster, node)
    options = await asyncio.to_thread(asyncssh_options, endpoint)
    way = _Way(endpoint)
    try:
        options["sock"] = await asyncio.to_thread(way.make)
        connection = await asyncssh.connect(**options)
        try:
            return _SSHLine(connection, await connection.create_process(frames.SHELL, encoding=None))
        except BaseException:
            connection.abort()
            raise
    except BaseException as error:
        way.give_up()
        if isinstance(error, (OSError, asyncssh.Error, ValueError)):
            raise explain(error, endpoint) from error
        raise


class _Way:
    """A socket to a node's SSH server, made in a thread; nothing stays open of one that was given up meanwhile."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._given_up = False

    def make(self) -> socket.socket:
        """Connect, within the time that this alone may take."""
        endpoint = self._endpoint
        made = proxy_socket(endpoint) or socket.create_connection(
            (endpoint.hostname, endpoint.port), timeout=endpoint.connect_timeout
        )
        with self._lock:
            self._socket = made
            if self._given_up:
                made.close()
        return made

    def give_up(self) -> None:
        """Close the socket, now or as soon as it is there."""
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                self._socket.close()
