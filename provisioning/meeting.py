"""What shows only when nodes are looked at together: logins by the run's own stacks, clocks, reach, shared storage.

All nodes, and the driver among them, take part in one conversation over asyncssh, which is what the run will use;
OpenSSH, which carries commands and bytes, and Fabric are tried beside it, with logins of their own.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning import frames
from provisioning.endings import ended_early, no_python
from provisioning.errors import NodeError, ProvisionError
from provisioning.process import Process, start
from provisioning.ssh import OpenSSHError, explain, fabric_connection, openssh_argv, resolve
from provisioning.wires import FabricWire

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

__all__ = ["Attendance", "hold"]

PROGRAM = "provisioning.node.meet"
CLOCK_ROUNDS = 3
ANSWER_SECONDS = 60
CONNECT_SECONDS = 5.0


@dataclass(slots=True)
class Attendance:
    """What the meeting found out about one node.

    Attributes
    ----------
    logins : dict of str to ProvisionError
        SSH stack (``asyncssh``, ``OpenSSH``) -> why it does not get in; stacks that do are missing.
    error : ProvisionError or None
        Why the node left the meeting early.
    offset, round_trip : float or None
        Seconds by which its clock is before ours, at half the round trip, and that round trip.
    unreached : tuple of (str, str, str)
        What it cannot connect to: name, ``host:port``, cause.
    worker_unreached : tuple of (str, str) or None
        Where the scheduler's machine does not reach a port for its worker, and the cause.
    shares : mapping of str to tuple of str
        Managed folder -> names of the other nodes that have the very same one.
    unwritable : tuple of str
        Managed folders in which, or above which, no file could be made.
    """

    logins: dict[str, ProvisionError] = field(default_factory=dict)
    error: ProvisionError | None = None
    offset: float | None = None
    round_trip: float | None = None
    unreached: tuple[tuple[str, str, str], ...] = ()
    worker_unreached: tuple[str, str] | None = None
    shares: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unwritable: tuple[str, ...] = ()


def hold(cluster: Cluster, nodes: Sequence[Node], paths: Sequence[str]) -> dict[str, Attendance]:
    """Bring nodes together and ask what they see of each other.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
        Those that have answered before.
    paths : sequence of str
        Managed folders.

    Returns
    -------
    dict
        Node name -> what was found out; the driver and the scheduler are among them even if they are not in `nodes`.
    """
    return asyncio.run(_Meeting(cluster, nodes, paths).hold())


class _Meeting:
    def __init__(self, cluster: Cluster, nodes: Sequence[Node], paths: Sequence[str]) -> None:
        self.cluster = cluster
        self.nodes = list(nodes)
        self.paths = list(paths)
        both = {node.name: node for node in (*nodes, cluster.scheduler, cluster.driver)}
        self.present = list(both.values())
        self.found = {name: Attendance() for name in both}
        self.lines: dict[str, Process] = {}
        self.window = asyncio.Semaphore(cluster.limits.parallel)

    async def hold(self) -> dict[str, Attendance]:
        try:
            await asyncio.gather(*(self.enter(node) for node in self.present))
            await asyncio.gather(*(self.compare_clock(node) for node in self.nodes))
            listener = await self.listen()
            await asyncio.gather(*(self.reach(node, listener) for node in self.present))
            await self.reach_workers()
            await self.mark()
        finally:
            await asyncio.gather(*(line.close() for line in self.lines.values()))
        return self.found

    async def enter(self, node: Node) -> None:
        async with self.window:
            logins = self.found[node.name].logins
            try:
                self.lines[node.name] = await start(self.cluster, node, PROGRAM, {})
            except ProvisionError as error:
                logins["asyncssh"] = error
            if not node.is_driver:
                tries = {"OpenSSH": _try_openssh, "Fabric": _try_fabric}
                answers = await asyncio.gather(
                    *(asyncio.to_thread(each, self.cluster, node) for each in tries.values())
                )
                logins.update({stack: error for stack, error in zip(tries, answers, strict=True) if error is not None})

    async def ask(self, node: Node, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask one node; None when it is not there (any more)."""
        line = self.lines.get(node.name)
        if line is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await line.send(message)
                return await line.receive()
        except (ProvisionError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                error = NodeError(f"did not answer within {ANSWER_SECONDS} s", host=node.name)
            self.found[node.name].error = error
            await self.lines.pop(node.name).close()
            return None

    async def compare_clock(self, node: Node) -> None:
        best: tuple[float, float] | None = None
        for _ in range(CLOCK_ROUNDS):
            began = time.time()
            answer = await self.ask(node, {"do": "clock"})
            if answer is None:
                return
            ended = time.time()
            seen = (ended - began, float(answer["time"]) - (began + ended) / 2)
            best = seen if best is None else min(best, seen)
        if best is not None:
            self.found[node.name].round_trip, self.found[node.name].offset = best

    async def listen(self) -> int | None:
        """Open a port on the scheduler's node, as the Dask scheduler will."""
        scheduler = self.cluster.scheduler
        answer = await self.ask(scheduler, {"do": "listen", "ports": [self.cluster.ports.scheduler]})
        if answer is None:
            return None
        if "error" in answer:
            self.found[scheduler.name].error = NodeError(
                f"the scheduler's port {self.cluster.ports.scheduler} cannot be opened: {answer['error']}",
                host=scheduler.name,
                remedy="end what uses it, or set ports.scheduler to another or to 0 (any free one)",
            )
            return None
        return int(answer["port"])

    async def reach(self, node: Node, listener: int | None) -> None:
        targets: list[tuple[str, str, int]] = []
        if node.name in {other.name for other in self.nodes}:
            for other in self.nodes:
                if other.name != node.name and not other.is_driver:
                    endpoint = await asyncio.to_thread(resolve, self.cluster, other)
                    targets.append((other.name, endpoint.hostname, endpoint.port))
        if listener is not None:
            host = await asyncio.to_thread(_host_of, self.cluster, self.cluster.scheduler, node)
            targets.append((f"the scheduler's port on {self.cluster.scheduler.name}", host, listener))
        answer = await self.ask(node, {"do": "reach", "targets": targets, "timeout": CONNECT_SECONDS})
        if answer is not None:
            self.found[node.name].unreached = tuple((name, where, cause) for name, where, cause in answer["unreached"])

    async def reach_workers(self) -> None:
        """Open a port on each node, as its Dask worker will, and let the scheduler's machine try all of them."""
        ports = self.cluster.ports.workers
        asked = {"do": "listen", "ports": [0] if ports is None else list(range(ports[0], ports[1] + 1))}
        answers = await asyncio.gather(*(self.ask(node, asked) for node in self.nodes))
        targets: list[tuple[str, str, int]] = []
        for node, answer in zip(self.nodes, answers, strict=True):
            if answer is not None and "error" in answer:
                self.found[node.name].error = NodeError(
                    f"none of the workers' ports {ports} can be opened: {answer['error']}",
                    host=node.name,
                    remedy="end what uses them, or set ports.workers to a range that is free",
                )
            elif answer is not None and node.name != self.cluster.scheduler.name:
                host = await asyncio.to_thread(_host_of, self.cluster, node, self.cluster.scheduler)
                targets.append((node.name, host, int(answer["port"])))
        tried = {"do": "reach", "targets": targets, "timeout": CONNECT_SECONDS}
        answer = await self.ask(self.cluster.scheduler, tried)
        for name, where, cause in () if answer is None else answer["unreached"]:
            self.found[name].worker_unreached = (where, cause)

    async def mark(self) -> None:
        """Leave a token of each node beside each folder, and let all look for those of the others."""
        run = secrets.token_hex(8)

        async def all_do(action: str) -> dict[str, dict[str, list[str]]]:
            def message(node: Node) -> dict[str, Any]:
                args = {"action": action, "run": run, "node": node.name, "paths": self.paths}
                return {"do": "mark", "args": args}

            answers = await asyncio.gather(*(self.ask(node, message(node)) for node in self.present))
            named = zip(self.present, answers, strict=True)
            return {node.name: answer["seen"] for node, answer in named if answer is not None}

        await all_do("leave")
        try:
            seen = await all_do("look")
        finally:
            await all_do("remove")
        for name, folders in seen.items():
            others = {path: tuple(other for other in names if other != name) for path, names in folders.items()}
            self.found[name].shares = {path: names for path, names in others.items() if names}
            self.found[name].unwritable = tuple(path for path, names in folders.items() if name not in names)


def _host_of(cluster: Cluster, node: Node, seen_from: Node) -> str:
    """Address of a node, as another one reaches it."""
    if node.address is not None:
        return node.address
    if not node.is_driver:
        return resolve(cluster, node).hostname
    if seen_from.is_driver:
        return "localhost"
    # The address of ours that the way to that node begins with; connecting a datagram socket sends nothing.
    endpoint = resolve(cluster, seen_from)
    family, kind, _, _, address = socket.getaddrinfo(endpoint.hostname, endpoint.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _try_openssh(cluster: Cluster, node: Node) -> ProvisionError | None:
    """Log in as commands and rsync do, but by a connection of its own."""
    endpoint = resolve(cluster, node)
    seconds = 3 * endpoint.connect_timeout + 10
    try:
        process = subprocess.run(
            [*openssh_argv(endpoint, share=False), frames.SHELL],
            input=frames.FIRST_LINE,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        return explain(TimeoutError(str(error)), endpoint)
    if not process.stdout and process.returncode:
        return explain(OpenSSHError(process.returncode, process.stderr.decode("utf-8", "replace")), endpoint)
    return _judged(node, process.stdout)


def _try_fabric(cluster: Cluster, node: Node) -> ProvisionError | None:
    """Log in by Fabric."""
    endpoint = resolve(cluster, node)
    said = b""
    try:
        with fabric_connection(endpoint) as connection:
            wire = FabricWire(connection)
            wire.write(frames.FIRST_LINE)
            while b"\n" not in said.partition(frames.MARKER)[2] and (piece := wire.read(3 * endpoint.connect_timeout)):
                said += piece
            wire.close()
    except ProvisionError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever the stack raises is why it does not get in
        return explain(error, endpoint)
    return _judged(node, said)


def _judged(node: Node, said: bytes) -> ProvisionError | None:
    """Say what is wrong with the answer to the first line."""
    decoder = frames.Decoder()
    try:
        decoder.feed(said)
    except ValueError as error:
        return NodeError(str(error), host=node.name, remedy="look at its login shell's start-up files")
    if decoder.word is None:
        return ended_early(node.name, frames.SHELL, status=1, noise=decoder.noise.decode("utf-8", "replace"), tail="")
    return None if decoder.word == "ready" else no_python(node.name)
