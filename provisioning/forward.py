"""Ports of loopback carried over SSH: nothing else than these two loopbacks can use them, and they end with us."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from provisioning.errors import NodeError
from provisioning.ssh import explain, fabric_connection, resolve

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

__all__ = ["from_node", "to_node"]

LOOPBACK = "127.0.0.1"
PIECE = 1 << 16
CONNECT_SECONDS = 10


class _End(Protocol):
    """One end of a connection: a socket or a channel."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def to_node(cluster: Cluster, node: Node, port: int) -> Iterator[int]:
    """Give a port of this machine's loopback that leads to a port of a node's loopback.

    Raises
    ------
    ProvisionError
        When the node is not reached; one that allows no forwarding is met by who connects.
    """
    if node.is_driver:
        yield port
        return
    with _transport(cluster, node) as transport, socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    ours, peer = server.accept()
                except OSError:
                    return  # closed: it is over
                try:
                    theirs = transport.open_channel("direct-tcpip", (LOOPBACK, port), peer, timeout=CONNECT_SECONDS)
                except Exception:  # noqa: BLE001 - whatever paramiko raises, who connected sees a closed line
                    ours.close()
                    continue
                _join(ours, theirs)

        threading.Thread(target=serve, name="forward", daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes who accepts


@contextlib.contextmanager
def from_node(cluster: Cluster, node: Node, port: int) -> Iterator[int]:
    """Give a port of a node's loopback that leads to a port of this machine's loopback.

    Raises
    ------
    NodeError
        When its sshd allows no forwarding.
    """
    if node.is_driver:
        yield port
        return
    with _transport(cluster, node) as transport:

        def came(theirs: Any, _origin: Any, _server: Any) -> None:  # noqa: ANN401 - paramiko has no types
            try:
                ours = socket.create_connection((LOOPBACK, port), CONNECT_SECONDS)
            except OSError:
                theirs.close()
                return
            ours.settimeout(None)
            _join(ours, theirs)

        try:
            listening = int(transport.request_port_forward(LOOPBACK, 0, came))
        except Exception as error:
            raise NodeError(
                f"its sshd does not let a port of its loopback be forwarded ({error})",
                host=node.name,
                remedy="AllowTcpForwarding yes in its sshd_config, or use --via load",
            ) from error
        yield listening


@contextlib.contextmanager
def _transport(cluster: Cluster, node: Node) -> Iterator[Any]:
    endpoint = resolve(cluster, node)
    connection = fabric_connection(endpoint)
    try:
        try:
            transport = connection.transport
        except Exception as error:
            raise explain(error, endpoint) from error
        yield transport
    finally:
        connection.close()


def _join(one: _End, other: _End) -> None:
    """Carry bytes both ways until both have ended."""
    left = [2]
    lock = threading.Lock()

    def carry(source: _End, target: _End) -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := source.recv(PIECE):
                target.sendall(piece)
        with contextlib.suppress(OSError, EOFError):
            target.shutdown(socket.SHUT_WR)
        with lock:
            left[0] -= 1
            if left[0]:
                return
        for end in (one, other):
            with contextlib.suppress(OSError, EOFError):
                end.close()

    for pair in ((one, other), (other, one)):
        threading.Thread(target=carry, args=pair, name="forwarded", daemon=True).start()
