"""Starting a sandbox and taking it away: what is there is compared with what must be, and only the difference done."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.sandbox import files, images
from provisioning.sandbox.cluster import STATE_FILE, Sandbox
from provisioning.sandbox.engine import Engine
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.layout import LABEL, SPEC_LABEL, NodeSpec, node_specs, run_argv, sandbox_name
from provisioning.sandbox.node import SandboxNode
from provisioning.sandbox.recipe import BASE_PLAIN, BASE_PYTHON, NODE

__all__ = ["Consent", "build_base_images", "down", "project_of", "up"]

DEFAULT_NODES = 3
NETWORK_ATTEMPTS = 3
WRITTEN = ("cluster.toml", "ssh_config", "known_hosts", files.KEY, f"{files.KEY}.pub", STATE_FILE)
Say = Callable[[str], None]
Consent = Callable[[int], None]
"""Asked with the number of containers before any is started; raises to refuse."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What must happen to the containers.

    Parameters
    ----------
    create : tuple of NodeSpec
        Nodes without a container, or with one of another recipe.
    obsolete : tuple of str
        Containers to remove.
    """

    create: tuple[NodeSpec, ...]
    obsolete: tuple[str, ...]


def plan(specs: list[NodeSpec], present: dict[str, str], digests: dict[str, str]) -> Plan:
    """Compare the nodes that must be with the containers there are.

    Parameters
    ----------
    specs : list of NodeSpec
        The nodes that must be.
    present : dict of str to str
        Recipe digest by name of each container of the sandbox.
    digests : dict of str to str
        Recipe digest by name of each container that must be.

    Returns
    -------
    Plan
        The difference; empty when nothing has to change.
    """
    return Plan(
        create=tuple(spec for spec in specs if present.get(spec.container) != digests[spec.container]),
        obsolete=tuple(name for name, digest in present.items() if digests.get(name) != digest),
    )


def project_of(folder: Path) -> Path | None:
    """Find the clone of this project that a sandbox folder lies in, by its examples; None outside of one."""
    for parent in folder.resolve().parents:
        if (parent / "provisioning" / "sandbox").is_dir() and (parent / "pyproject.toml").is_file():
            return parent
    return None


def build_base_images(engine: Engine, say: Say) -> list[str]:
    """Make sure that the base images for algorithms exist on this machine.

    Parameters
    ----------
    engine : Engine
        The local engine.
    say : callable
        Told what is built.

    Returns
    -------
    list of str
        One line per image that was built or named anew.
    """
    base = images.ensure_base(engine, say)
    with ThreadPoolExecutor(max_workers=2) as pool:
        done = list(pool.map(lambda recipe: images.build(engine, recipe, base, say), (BASE_PYTHON, BASE_PLAIN)))
    pairs = zip((BASE_PYTHON, BASE_PLAIN), done, strict=True)
    return [f"image {recipe.alias} built" for recipe, (_tag, changed) in pairs if changed]


def up(folder: Path, *, nodes: int | None, consent: Consent, say: Say, engine: Engine | None = None) -> list[str]:
    """Bring a sandbox to the state it must have.

    Parameters
    ----------
    folder : Path
        Where its files go; made when missing.
    nodes : int or None
        How many nodes; by default as many as there are, or three.
    consent : callable
        Asked before containers with wide rights are started.
    say : callable
        Told in a line each what is being done.
    engine : Engine or None
        The engine to use; the user's own by default.

    Returns
    -------
    list of str
        What changed, in a line each; empty when nothing had to.

    Raises
    ------
    SandboxError
        An image could not be had, or a node does not answer.
    """
    docker = engine or Engine()
    facts = docker.facts()
    if facts.obstacle is not None:
        raise SandboxError(facts.obstacle, remedy="use a Docker Engine that runs on Linux as a system service")
    folder.mkdir(parents=True, exist_ok=True)
    home = folder.resolve()
    changes: list[str] = []
    with _lock(home):
        name = sandbox_name(home)
        base = images.ensure_base(docker, say)
        image, built = images.build(docker, NODE, base, say)
        if built:
            changes.append(f"image {image} built")
        subnet, made = _network(docker, name)
        if made:
            changes.append(f"network {name} ({subnet}) made")
        present = _containers(docker, name)
        specs = node_specs(name, subnet, nodes or len(present) or DEFAULT_NODES, image)
        argvs = {spec.container: run_argv(spec, name, facts.cgroup_version) for spec in specs}
        changes += _converge(docker, specs, argvs, present, consent)
        cluster = Sandbox(name, home, tuple(SandboxNode(s.name, s.container, s.address, docker) for s in specs))
        with ThreadPoolExecutor(max_workers=1) as pool:
            bases = pool.submit(build_base_images, docker, say)
            for node in cluster.nodes:
                changes += [f"{node.name} mended ({ailment})" for ailment in node.heal()]
            changes += _access(cluster, specs)
            cluster.wait()
            changes += bases.result()
    return changes


def down(folder: Path, *, everything: bool = False, engine: Engine | None = None) -> list[str]:
    """Remove a sandbox: its containers with their volumes, its network, its files. Images stay, as a cache.

    Parameters
    ----------
    folder : Path
        The sandbox's folder.
    everything : bool
        Whether the sandboxes of all folders on this machine go.
    engine : Engine or None
        The engine to use; the user's own by default.

    Returns
    -------
    list of str
        What was removed, in a line each.
    """
    docker = engine or Engine()
    home = folder.resolve()
    label = LABEL if everything else f"{LABEL}={sandbox_name(home)}"
    chosen = ("--filter", f"label={label}")
    containers = docker.run("ps", "--all", *chosen, "--format", "{{.Names}}").split()
    if containers:
        docker.run("rm", "--force", "--volumes", *containers, timeout=120)
    networks = docker.run("network", "ls", *chosen, "--format", "{{.Name}}").split()
    for network in networks:
        docker.run("network", "rm", network)
    written = [home / name for name in WRITTEN if (home / name).exists()]
    for path in written:
        path.unlink()
    return [f"{thing} removed" for thing in (*containers, *networks, *map(str, written))]


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Let one command at a time work on a sandbox."""
    with (home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _network(docker: Engine, name: str) -> tuple[str, bool]:
    """Give the IPv4 range of the sandbox's network, made where it is missing.

    Fixed addresses want a range that was given by name, and only the engine knows one that is free: it is asked to
    choose, and its choice is then made explicit.
    """
    found = _subnet(docker.inspect([name]))
    if found is not None:
        return found, False
    refused = ""
    for _attempt in range(NETWORK_ATTEMPTS):
        docker.run("network", "create", name)
        chosen = _subnet(docker.inspect([name]))
        docker.run("network", "rm", name)
        if chosen is None:
            raise SandboxError("the Docker Engine gives its networks no IPv4 range")
        made = docker.attempt("network", "create", "--subnet", chosen, "--label", f"{LABEL}={name}", name)
        if made.returncode == 0:
            return chosen, True
        refused = made.stderr.strip()  # somebody else took the range in between
    raise SandboxError(f"no network could be made: {refused}", remedy="remove unused ones: `docker network prune`")


def _subnet(described: list[dict[str, Any]]) -> str | None:
    for network in described:
        for config in network["IPAM"]["Config"] or ():
            if ":" not in config.get("Subnet", ":"):
                return str(config["Subnet"])
    return None


def _containers(docker: Engine, name: str) -> dict[str, str]:
    """Give the recipe digest of each container that carries the sandbox's label."""
    form = f'{{{{.Names}}}}\t{{{{.Label "{SPEC_LABEL}"}}}}'
    lines = docker.run("ps", "--all", "--filter", f"label={LABEL}={name}", "--format", form).splitlines()
    pairs = (line.partition("\t") for line in lines)
    return {container: digest for container, _tab, digest in pairs}


def _converge(
    docker: Engine, specs: list[NodeSpec], argvs: dict[str, list[str]], present: dict[str, str], consent: Consent
) -> list[str]:
    """Make the containers what the specs say."""
    digests = {container: argv[-2].removeprefix(f"{SPEC_LABEL}=") for container, argv in argvs.items()}
    difference = plan(specs, present, digests)
    if difference.create:
        consent(len(difference.create))
    if difference.obsolete:
        docker.run("rm", "--force", "--volumes", *difference.obsolete, timeout=120)
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda spec: docker.run(*argvs[spec.container], timeout=120), difference.create))
    started = {spec.container for spec in difference.create}
    return [f"{item} removed" for item in difference.obsolete if item not in started] + [
        f"{spec.name} {'replaced' if spec.container in difference.obsolete else 'started'} ({spec.address})"
        for spec in difference.create
    ]


def _access(cluster: Sandbox, specs: list[NodeSpec]) -> list[str]:
    """Give the user a key for the nodes and the nodes' own keys to the user, both through the engine."""
    key = cluster.folder / files.KEY
    if not key.exists():
        if shutil.which("ssh-keygen") is None:
            raise SandboxError("there is no ssh-keygen on this machine", remedy="`apt-get install openssh-client`")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", cluster.name, "-f", str(key)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    public = key.with_name(f"{files.KEY}.pub").read_text(encoding="utf-8")
    with ThreadPoolExecutor(max_workers=8) as pool:
        keys = list(pool.map(lambda node: _exchange(node, public), cluster.nodes))
    by_name = {node.name: known for node, known in zip(cluster.nodes, keys, strict=True)}
    state = {
        "schema": "sandbox/1",
        "name": cluster.name,
        "nodes": [{"name": n.name, "container": n.container, "address": n.address} for n in cluster.nodes],
    }
    texts = {
        "known_hosts": files.known_hosts(specs, by_name),
        "ssh_config": files.ssh_config(specs, cluster.folder),
        "cluster.toml": files.cluster_toml("sandbox", specs, cluster.folder, project_of(cluster.folder)),
        STATE_FILE: json.dumps(state, indent=2) + "\n",
    }
    return [f"{name} written" for name, text in texts.items() if files.write_if_changed(cluster.folder / name, text)]


def _exchange(node: SandboxNode, public: str) -> list[str]:
    """Leave the user's public key on a node and bring back the node's own."""
    script = """
    set -e
    umask 077
    until ls /etc/ssh/ssh_host_ed25519_key.pub >/dev/null 2>&1 && [ -e /run/sshd ]; do sleep 0.1; done
    cat >/home/bench/.ssh/authorized_keys
    chown bench:bench /home/bench/.ssh/authorized_keys
    cat /etc/ssh/ssh_host_*_key.pub
    """
    answer = node.exec(["sh", "-c", script], stdin=public, timeout=30).stdout
    return [" ".join(line.split()[:2]) for line in answer.splitlines()]
