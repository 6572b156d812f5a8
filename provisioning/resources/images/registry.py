"""Registries that nodes pull from: one that is there, or one of our own on a loopback that is gone afterwards."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from provisioning import forward
from provisioning.errors import NodeError, ProvisionError
from provisioning.launch import open_session
from provisioning.node import docker
from provisioning.node.pull_images import reached
from provisioning.node.tools import RefusedError, environment

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Conversation
    from provisioning.resources.images.build import Built

SERVE = "provisioning.node.serve_registry"
IMAGE = "registry:2"
PIECE = 1 << 20


class Registry(Protocol):
    """Where nodes pull from."""

    def push(self, images: Sequence[Built]) -> None:
        """Bring images there, once."""

    def reference(self, node: Node, name: str) -> str:
        """Return what a node's engine is to pull: ``HOST/path@sha256:...``."""

    def loopback(self, node: Node) -> int | None:
        """Return the port on a node's loopback that leads there; None where it is not reached so."""

    def close(self) -> None:
        """End what was started for it."""


def pushed(host: str, images: Sequence[Built]) -> dict[str, str]:
    """Push images to a registry; return ``path@sha256:...`` there, by name.

    Raises
    ------
    ProvisionError
        When it does not take them.
    """
    digests = {}
    for image in images:
        path, _, tag = _path(image.name).rpartition(":")
        target = f"{host}/{path}:{tag}"
        try:
            docker.docker("image", "tag", image.id, target)
            try:
                docker.docker("push", "--quiet", target, timeout=None)
                said = docker.docker("image", "inspect", "--format", "{{json .RepoDigests}}", target)
            finally:
                docker.docker("image", "rm", "--no-prune", target)
        except RefusedError as error:
            raise ProvisionError(
                f"{image.name} cannot be pushed to {host}: {error}",
                remedy=f"see whether `docker push {target}` works here (docker login {host}; insecure-registries)",
            ) from error
        found = [each for each in json.loads(said) if each.startswith(f"{host}/{path}@")]
        if not found:
            raise ProvisionError(f"{host} did not say by which digest it has {image.name}", remedy="run it again")
        digests[image.name] = found[0].removeprefix(f"{host}/")
    return digests


def _path(name: str) -> str:
    """Return an image's name without the registry that it names itself."""
    first, slash, rest = name.partition("/")
    return rest if slash and ("." in first or ":" in first or first == "localhost") else name


class Named:
    """A registry that is there; all machines reach it under one name.

    Parameters
    ----------
    host : str
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._digests: dict[str, str] = {}

    def push(self, images: Sequence[Built]) -> None:
        """Bring images there."""
        self._digests |= pushed(self.host, images)

    def reference(self, node: Node, name: str) -> str:
        """Return what every node's engine is to pull."""
        del node
        return f"{self.host}/{self._digests[name]}"

    def loopback(self, node: Node) -> None:
        """Return None: it may be anywhere."""
        del node

    def close(self) -> None:
        """End nothing: it is somebody's own."""


class Own:
    """A registry on the loopback of the scheduler's host.

    Engines reach it as ``localhost:PORT``, which they need no certificate for, through a port of their host's loopback
    that SSH carries to this machine and from here to the scheduler's host.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._there = self._here = 0
        self._ports: dict[str, int] = {}
        self._digests: dict[str, str] = {}

    def push(self, images: Sequence[Built]) -> None:
        """Start it, and bring images there."""
        if not self._here:
            self._there = self._stack.enter_context(_served(self._cluster))
            self._here = self._stack.enter_context(forward.to_node(self._cluster, self._cluster.scheduler, self._there))
        try:
            self._digests |= pushed(f"localhost:{self._here}", images)
        except ProvisionError as error:
            if "connect" in error.message and reached(self._here):
                raise ProvisionError(
                    "this machine's engine does not share its loopback (it runs in a machine or a network of its own): "
                    + error.message,
                    host=self._cluster.driver.name,
                    remedy="use --via load, which asks for nothing but the engine",
                ) from error
            raise

    def reference(self, node: Node, name: str) -> str:
        """Return what this node's engine is to pull."""
        return f"localhost:{self.loopback(node)}/{self._digests[name]}"

    def loopback(self, node: Node) -> int:
        """Return the port on a node's loopback that leads there; it is opened when it is asked for first."""
        if node.name == self._cluster.scheduler.name:
            return self._there
        if node.name not in self._ports:
            way = forward.from_node(self._cluster, node, self._here)
            port = way.__enter__()
            with self._lock:  # nodes settle at the same time
                self._stack.push(way)
                self._ports[node.name] = port
        return self._ports[node.name]

    def close(self) -> None:
        """End the registry and all ways to it."""
        self._stack.close()


@contextlib.contextmanager
def _served(cluster: Cluster) -> Iterator[int]:
    """Run a registry on the scheduler's host; give its port on the loopback there."""
    host = cluster.scheduler
    state = str(PurePosixPath(cluster.state) / "registry")
    with open_session(cluster, host) as session:
        line = session.open(SERVE, {"state": state, "load": False})
        try:
            said = _said(line, host)
            if "absent" in said:
                line.close()
                if not _has_image():
                    raise NodeError(
                        f"no registry can be started: {said['absent']}", host=host.name, remedy=said["remedy"]
                    )
                line = session.open(SERVE, {"state": state, "load": True})
                line.send_data(_saved())
                said = _said(line, host)
            yield int(said["port"])
            with contextlib.suppress(ProvisionError):
                line.send({"do": "end"})
                while line.receive() is not None:
                    pass
        finally:
            line.close()


def _said(line: Conversation, host: Node) -> Mapping[str, str]:
    said = line.receive()
    if said is None:
        raise NodeError("the registry ended at once", host=host.name, remedy="run it again with -v")
    return said


def _has_image() -> bool:
    try:
        return docker.inspect([IMAGE])[IMAGE] is not None
    except RefusedError:
        return False


def _saved() -> Iterator[bytes]:
    """Yield the archive of the registry's image."""
    with subprocess.Popen(
        ["docker", "save", IMAGE], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        while piece := process.stdout.read(PIECE):
            yield piece
    if process.returncode != 0:
        raise ProvisionError(
            f"the driver's engine cannot save {IMAGE}", remedy=f"see whether `docker save {IMAGE}` works"
        )
