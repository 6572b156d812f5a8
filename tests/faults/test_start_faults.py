"""What keeps a host from starting: each is told with host, cause and remedy, and the other hosts go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_run import Run, nothing_left
from practice import EXPERIMENTS, NODES, Commands

from provisioning.errors import UnreachableError
from provisioning.inventory import load
from provisioning.launch import open_session
from provisioning.sandbox.layout import FULL
from timeeval.errors import TimeEvalError

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

__all__ = ["nothing_left"]

pytestmark = pytest.mark.usefixtures("nothing_left")
PREFIX = "/srv/timeeval/envs/demo"
OLD_PORT = 2200
OLD_SSHD = (
    "exec /usr/sbin/sshd -D -p {port} -o ListenAddress={address} -o PidFile=none -h /etc/ssh/ssh_host_rsa_key "
    "-o HostKeyAlgorithms=ssh-rsa -o KexAlgorithms=diffie-hellman-group14-sha1"
)
HOLD = (
    "import socket, time; s = socket.create_server(({address!r}, {port})); print('held', flush=True); time.sleep(600)"
)


def sh(sandbox: Sandbox, name: str, script: str) -> str:
    return sandbox.node(name).exec(["sh", "-c", script]).stdout


@contextlib.contextmanager
def harmed(sandbox: Sandbox, name: str, harm: str, mend: str) -> Iterator[None]:
    sh(sandbox, name, harm)
    try:
        yield
    finally:
        sh(sandbox, name, mend)


@contextlib.contextmanager
def server(sandbox: Sandbox, name: str, command: str, port: int) -> Iterator[None]:
    """Run a server on a node for the length of a block."""
    listens = f"ss -Hltn 'sport = :{port}' | grep -q ."
    wait = f"for i in $(seq 100); do {listens} && exit 0; sleep 0.1; done; exit 1"
    start = f"setsid sh -c {shlex.quote(command)} >/dev/null 2>&1 & {wait}"
    end = f"kill $(ss -Hltnp 'sport = :{port}' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)"
    with harmed(sandbox, name, start, end):
        yield


@contextlib.contextmanager
def known_at(sandbox: Sandbox, name: str, port: int) -> Iterator[str]:
    """Put the keys of a node on record at another port too; gives the file's name beside the cluster file."""
    lines = (sandbox.folder / "known_hosts").read_text(encoding="utf-8").splitlines()
    address = sandbox.node(name).address
    lines += [f"[{address}]:{port} {line.split(' ', 1)[1]}" for line in lines if line.startswith(f"{name},")]
    file = sandbox.folder / f"known-{os.getpid()}"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    yield file.name
    file.unlink()


def failures_of(cluster_file: Path) -> dict[str, str]:
    """Start an engine of which at least one host must compute; return why the others do not."""

    async def scenario() -> dict[str, str]:
        async with asyncio.timeout(150), Run(cluster_file) as run:
            up = next(name for name in NODES if name not in run.engine.failures)
            await run.ok("work", up)
            return {name: str(error) for name, error in run.engine.failures.items()}

    return asyncio.run(scenario())


def test_a_server_of_sha1_only_and_a_firewall_before_ssh(
    sandbox: Sandbox, environment: Path, cluster_variant: Callable[..., Path]
) -> None:
    address = sandbox.node("node2").address
    old = OLD_SSHD.format(port=OLD_PORT, address=address)
    with known_at(sandbox, "node2", OLD_PORT) as known:
        file = cluster_variant(
            {
                f'address = "{address}"': f'address = "{address}"\nport = {OLD_PORT}',
                'ssh_config = "ssh_config"\n': "",
                '"known_hosts"': f'"{known}"',
            }
        )
        with server(sandbox, "node2", old, OLD_PORT), sandbox.cut_off("node3"):
            failures = failures_of(file)
            # the gate, and every command, comes by Fabric first
            with pytest.raises(UnreachableError, match="only algorithms that are no longer safe") as caught:
                open_session(load(file), load(file).node("node2"))

    assert caught.value.host == "node2"
    assert "update its OpenSSH" in str(caught.value)
    assert set(failures) == {"node2", "node3"}
    # such a server may hang up before asyncssh has read what it offers
    assert re.search(
        r"^node2: .*(no longer safe \(SHA-1\)[;.] update its OpenSSH|closed the connection)", failures["node2"]
    )
    assert "did not answer within" in failures["node3"]
    assert "firewall" in failures["node3"]


def test_a_version_that_differs_and_a_full_disk(
    sandbox: Sandbox, environment: Path, cluster_variant: Callable[..., Path]
) -> None:
    file = f"{PREFIX}/lib/python3.11/site-packages/timeeval/times.py"
    other = harmed(sandbox, "node2", f"cp -p {file} /run/times.py; echo >> {file}", f"cp -p /run/times.py {file}")
    small = cluster_variant({'state = "/srv/timeeval/state"': f'state = "{FULL}/state"'})
    try:
        with other, sandbox.full_disk("node3"):
            failures = failures_of(small)
    finally:
        for name in NODES:
            sh(sandbox, name, f"rm -rf {FULL}/state")

    assert set(failures) == {"node2", "node3"}
    assert failures["node2"].startswith("node2: its environment differs from the driver's: timeeval ")
    assert "timeeval-provision create-envs" in failures["node2"]
    assert failures["node3"].startswith(f"node3: {FULL}/state/runs has no room for a run: No space left on device")
    assert "make room there" in failures["node3"]


def test_a_taken_port_and_a_firewall_between_the_nodes(
    sandbox: Sandbox, environment: Path, cluster_variant: Callable[..., Path]
) -> None:
    hold = f"exec python3 -c {shlex.quote(HOLD.format(address=sandbox.node('node1').address, port=8786))}"
    file = cluster_variant(append="\n[ports]\nscheduler = 8786\n")
    wall = "INPUT -i eth0 -p tcp --dport 8786 -j DROP"
    firewall = harmed(sandbox, "node2", f"iptables -I {wall}", f"iptables -D {wall}")
    with server(sandbox, "node1", hold, 8786), firewall:
        failures = failures_of(file)

    # node1 was to have the scheduler; node2 takes its place, and is not reached by the others
    assert failures["node1"].startswith("node1: ")
    assert "port 8786 is held by a process of root" in failures["node1"]  # whose name only root may know
    assert "[ports]" in failures["node1"]
    assert "firewall" in failures["node3"]


def test_an_environment_without_the_package_is_told_with_the_command_that_mends_it(
    sandbox: Sandbox, environment: Path, cluster_variant: Callable[..., Path]
) -> None:
    bare = "/srv/timeeval/envs/bare"
    file = cluster_variant({f'prefix = "{PREFIX}"': f'prefix = "{bare}"'})
    make = f"mkdir -p {bare}/bin; ln -s /usr/bin/python3 {bare}/bin/python"

    async def scenario() -> None:
        async with asyncio.timeout(100), Run(file, limit=["node2"]):
            pass

    with (
        harmed(sandbox, "node2", make, f"rm -r {bare}"),
        pytest.raises(TimeEvalError, match=r"node2: (.|\n)*No module named(.|\n)*create-envs"),
    ):
        asyncio.run(scenario())


def test_a_docker_engine_that_does_not_answer_is_told_before_anything_starts(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    run = ["timeeval-run", EXPERIMENTS / "containers.py", "--cluster", provisioned, "--results", results]
    with sandbox.engine_down("node3"):
        refused = commands.run(*run, "--", "3")
        without = commands.run(*run, "--exclude", "node3", "--", "3", seconds=150)

    assert refused.returncode == 16, refused.stdout
    assert "node3: the Docker engine does not answer: Cannot connect" in refused.stderr
    assert "--limit node3`, or leave them out with --exclude" in refused.stderr
    assert without.returncode == 0, without.stderr
