"""A sandbox that exists: its nodes, whether they answer, and harms that end with the block that did them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import UsageError
from provisioning.sandbox.engine import Engine
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.node import SandboxNode

__all__ = ["STATE_FILE", "Sandbox"]

STATE_FILE = "sandbox.json"
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A practice cluster.

    Parameters
    ----------
    name : str
        Name of the sandbox, on the label of all that is its own.
    folder : Path
        Absolute folder with its files.
    nodes : tuple of SandboxNode
        Its nodes, in order.
    """

    name: str
    folder: Path
    nodes: tuple[SandboxNode, ...]

    @classmethod
    def load(cls, folder: Path | str = ".sandbox", engine: Engine | None = None) -> Sandbox:
        """Read what ``sandbox up`` wrote.

        Parameters
        ----------
        folder : Path or str
            The sandbox's folder.
        engine : Engine or None
            The engine its nodes run on; the user's own by default.

        Returns
        -------
        Sandbox
            The cluster; whether its nodes are well is not asked yet.

        Raises
        ------
        UsageError
            There is no sandbox in this folder.
        """
        home = Path(folder).resolve()
        try:
            state = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"no sandbox in {home}", remedy="`timeeval-provision sandbox up` starts one") from error
        docker = engine or Engine()
        nodes = tuple(SandboxNode(item["name"], item["container"], item["address"], docker) for item in state["nodes"])
        return cls(state["name"], home, nodes)

    @property
    def cluster_file(self) -> Path:
        """The cluster file that was written for this sandbox."""
        return self.folder / "cluster.toml"

    def node(self, name: str) -> SandboxNode:
        """Give a node by its host name; an unknown one is an error that lists all."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(f"the sandbox has no {name}", remedy=f"use one of {', '.join(one.name for one in self.nodes)}")

    def ssh_argv(self, name: str, *command: str) -> list[str]:
        """Give the argument list that runs a command on a node as its user does."""
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        return ["ssh", "-F", str(self.folder / "ssh_config"), *options, name, *command]

    def wait(self, nodes: Sequence[SandboxNode] | None = None, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until nodes take a login and their engines answer the user.

        Parameters
        ----------
        nodes : sequence of SandboxNode or None
            The nodes; all by default.
        seconds : float
            How long to wait.

        Raises
        ------
        SandboxError
            One did not answer in time; the message ends with its logs.
        """
        waiting = self.nodes if nodes is None else tuple(nodes)
        limit = time.monotonic() + seconds
        with ThreadPoolExecutor(max_workers=8) as pool:
            for verdict in list(pool.map(lambda node: self._refusal(node, limit), waiting)):
                if verdict is not None:
                    raise verdict

    def _refusal(self, node: SandboxNode, limit: float) -> SandboxError | None:
        """Ask a node until it answers; why it did not, where time ran out or it died."""
        argv = self.ssh_argv(node.name, "docker", "version", "--format", "ok.{{.Server.Os}}")
        while True:
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15, check=False
                )
                said = done.stderr.strip()
                if done.returncode == 0 and "ok.linux" in done.stdout:
                    return None
            except subprocess.TimeoutExpired:
                said = "a login took longer than 15 s"
            except FileNotFoundError:
                return SandboxError("there is no ssh on this machine", remedy="`apt-get install openssh-client`")
            state = node.state()
            if state != "running" or time.monotonic() > limit:
                return SandboxError(
                    f"does not answer (container {state}): {said}\n{node.logs()}",
                    host=node.name,
                    remedy="start over with `timeeval-provision sandbox down` and `up`",
                )
            time.sleep(0.3)

    def ailments(self) -> dict[str, list[str]]:
        """Tell what is wrong with which node; empty when all are well."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            found = zip(self.nodes, pool.map(lambda node: node.ailments(), self.nodes), strict=True)
            return {node.name: ailments for node, ailments in found if ailments}

    def heal(self) -> dict[str, list[str]]:
        """Undo every harm and wait until the nodes concerned answer; what was mended, by node."""
        mended = {name: self.node(name).heal() for name in self.ailments()}
        if mended:
            self.wait([self.node(name) for name in mended])
        return mended

    @contextmanager
    def off(self, name: str) -> Iterator[SandboxNode]:
        """Keep a node switched off for the length of a block."""
        yield from self._harmed(name, SandboxNode.kill)

    @contextmanager
    def frozen(self, name: str) -> Iterator[SandboxNode]:
        """Keep a node frozen for the length of a block."""
        yield from self._harmed(name, SandboxNode.pause)

    @contextmanager
    def cut_off(self, name: str) -> Iterator[SandboxNode]:
        """Keep a node off the network for the length of a block."""
        yield from self._harmed(name, SandboxNode.disconnect)

    @contextmanager
    def driver_apart(self) -> Iterator[None]:
        """Keep this machine and all nodes from hearing each other for the length of a block."""
        try:
            for node in self.nodes:
                node.part()
            yield
        finally:
            self.heal()

    @contextmanager
    def full_disk(self, name: str) -> Iterator[SandboxNode]:
        """Keep the small file system of a node full for the length of a block."""
        yield from self._harmed(name, SandboxNode.fill_disk)

    @contextmanager
    def engine_down(self, name: str) -> Iterator[SandboxNode]:
        """Keep the Docker Engine of a node off for the length of a block."""
        yield from self._harmed(name, SandboxNode.stop_engine)

    @contextmanager
    def login_shell(self, name: str, shell: str, banner: str = "") -> Iterator[SandboxNode]:
        """Give the user of a node another login shell for the length of a block."""
        yield from self._harmed(name, lambda node: node.set_login_shell(shell, banner))

    def _harmed(self, name: str, harm: Callable[[SandboxNode], None]) -> Iterator[SandboxNode]:
        node = self.node(name)
        harm(node)
        try:
            yield node
        finally:
            node.heal()
            self.wait([node])
