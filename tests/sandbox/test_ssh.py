"""One answer of `ssh -G`, three SSH stacks: they get in together and refuse together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioning import trust
from provisioning.errors import ProvisionError, UnreachableError
from provisioning.inventory import Cluster, Node, load
from provisioning.launch import Conversation, open_session, start
from provisioning.parallel import for_each
from provisioning.rsh import handover
from provisioning.ssh import fabric_connection, openssh_argv, resolve
from provisioning.wires import FabricWire

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

MEET = "provisioning.node.meet"
STACKS = ("fabric", "openssh", "asyncssh")
NO_CONFIG = {'ssh_config = "ssh_config"\n': ""}


def by_fabric(cluster: Cluster, node: Node) -> None:
    with fabric_connection(resolve(cluster, node)) as connection:
        program, args = "provisioning.node.observe", {"questions": {}}
        with Conversation(FabricWire(connection), node.name, program, args, 60) as talk:
            assert talk.receive() is None
            assert talk.result == {}


def by_openssh(cluster: Cluster, node: Node) -> None:
    with open_session(cluster, node) as session:
        assert session.call("provisioning.node.observe", {"questions": {}}) == {}
    with handover(cluster, node) as given:
        argv = ["rsync", "-s", "--list-only", "node:/etc/hostname"]
        done = subprocess.run(argv, env=os.environ | given.env, capture_output=True, text=True, check=False)
        if (error := given.error()) is not None:
            raise error
        assert done.returncode == 0, done.stderr


def by_asyncssh(cluster: Cluster, node: Node) -> None:
    async def run() -> None:
        process = await start(cluster, node, MEET, {})
        await process.send({"do": "end"})
        assert await process.receive() is None
        await process.close()

    asyncio.run(run())


LOGINS = {"fabric": by_fabric, "openssh": by_openssh, "asyncssh": by_asyncssh}


@contextlib.contextmanager
def written(sandbox: Sandbox, name: str, text: str) -> Iterator[str]:
    """Write a file beside the cluster file for the length of a block."""
    file = sandbox.folder / f"{name}-{os.getpid()}"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    try:
        yield file.name
    finally:
        file.unlink()


def keys_of(sandbox: Sandbox, name: str) -> list[str]:
    lines = (sandbox.folder / "known_hosts").read_text(encoding="utf-8").splitlines()
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{name},")]


@pytest.mark.parametrize("stack", STACKS)
def test_all_nodes_are_reached(cluster_file: Path, stack: str) -> None:
    cluster = load(cluster_file)
    for node in cluster.nodes:
        LOGINS[stack](cluster, node)


@pytest.mark.parametrize("stack", STACKS)
def test_a_wrong_host_key_is_refused(sandbox: Sandbox, cluster_variant: Callable[..., Path], stack: str) -> None:
    # A connection that was made before, under the right key, must not let anybody in now.
    node = sandbox.node("node1")
    LOGINS[stack](load(sandbox.cluster_file), load(sandbox.cluster_file).node("node1"))
    wrong = "".join(f"{node.name},{node.address} {key}\n" for key in keys_of(sandbox, "node2"))
    with written(sandbox, "wrong", wrong) as name:
        cluster = load(cluster_variant({**NO_CONFIG, '"known_hosts"': f'"{name}"'}))
        with pytest.raises(UnreachableError, match=r"the host key of .* is not the one on record") as caught:
            LOGINS[stack](cluster, cluster.node("node1"))
    assert caught.value.host == "node1"
    assert "timeeval-provision trust node1" in (caught.value.remedy or "")


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
def test_one_key_of_any_kind_on_record_is_enough(
    sandbox: Sandbox, cluster_variant: Callable[..., Path], stack: str, kind: str
) -> None:
    # The server has keys of all kinds: the stack must ask for the one that is known.
    key = next(key for key in keys_of(sandbox, "node1") if key.startswith(kind))
    with written(sandbox, "one-kind", f"{sandbox.node('node1').address} {key}\n") as name:
        cluster = load(cluster_variant({**NO_CONFIG, '"known_hosts"': f'"{name}"'}))
        LOGINS[stack](cluster, cluster.node("node1"))


@pytest.mark.parametrize("stack", STACKS)
def test_an_unknown_host_key_is_refused(cluster_variant: Callable[..., Path], stack: str) -> None:
    cluster = load(cluster_variant({**NO_CONFIG, '"known_hosts"': '"nobody-is-known"'}))
    with pytest.raises(UnreachableError, match=r"the host key of .* is not on record"):
        LOGINS[stack](cluster, cluster.node("node1"))


@pytest.mark.parametrize("stack", STACKS)
def test_a_wrong_key_of_ours_is_refused(sandbox: Sandbox, cluster_variant: Callable[..., Path], stack: str) -> None:
    file = sandbox.folder / f"stranger-{os.getpid()}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    try:
        cluster = load(cluster_variant({**NO_CONFIG, '"id_ed25519"': f'"{file.name}"'}))
        with pytest.raises(UnreachableError, match=f"does not let bench in with .*{file.name}"):
            LOGINS[stack](cluster, cluster.node("node1"))
    finally:
        file.unlink()
        Path(f"{file}.pub").unlink()


@contextlib.contextmanager
def agent(monkeypatch: pytest.MonkeyPatch, *keys: Path) -> Iterator[None]:
    """Run an ssh-agent that holds keys whose passphrase is `secret`."""
    with tempfile.TemporaryDirectory() as folder:
        socket, helper = f"{folder}/agent", Path(folder, "helper")
        helper.write_text("#!/bin/sh\necho secret\n")
        helper.chmod(0o700)
        with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
            while not Path(socket).exists():
                assert process.poll() is None
                time.sleep(0.01)
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            environment = os.environ | {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
            for key in keys:
                subprocess.run(["ssh-add", "-q", str(key)], check=True, env=environment, stdin=subprocess.DEVNULL)
            yield
            process.terminate()


@pytest.mark.parametrize("stack", STACKS)
def test_a_key_with_a_passphrase_that_the_agent_holds(
    sandbox: Sandbox, cluster_variant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    # The agent holds more keys than sshd lets anybody try, so only the one that is named may be offered.
    folder = sandbox.folder / f"keys-{os.getpid()}"
    folder.mkdir()
    node = sandbox.node("node1")
    keys = [folder / f"key{number}" for number in range(8)]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "test", "-f", str(key)], check=True)
    public = Path(f"{keys[-1]}.pub").read_text(encoding="utf-8")
    blob = public.split()[1]
    authorized = "/home/bench/.ssh/authorized_keys"
    node.exec(["sh", "-c", f"cat >> {authorized}"], stdin=public)
    try:
        cluster = load(cluster_variant({**NO_CONFIG, '"id_ed25519"': f'"{folder.name}/{keys[-1].name}"'}))
        with agent(monkeypatch, *keys):
            LOGINS[stack](cluster, cluster.node("node1"))
        monkeypatch.delenv("SSH_AUTH_SOCK")
        with pytest.raises(UnreachableError, match=r"needs a passphrase|does not let bench in"):
            LOGINS[stack](cluster, cluster.node("node1"))
    finally:
        node.exec(["sed", "-i", f"\\|{blob}|d", authorized])
        shutil.rmtree(folder)


@pytest.mark.parametrize("stack", STACKS)
def test_a_node_behind_another(sandbox: Sandbox, cluster_variant: Callable[..., Path], stack: str) -> None:
    # Host keys are asked for by name here: the driver sees no address of node2.
    config = "Host node2\n    ProxyJump node1\n    HostKeyAlias inner\n"
    known = "".join(f"inner {key}\n" for key in keys_of(sandbox, "node2"))
    known += "".join(f"{sandbox.node('node1').address} {key}\n" for key in keys_of(sandbox, "node1"))
    with (
        written(sandbox, "jump", config + (sandbox.folder / "ssh_config").read_text(encoding="utf-8")) as name,
        written(sandbox, "jump-known", known) as known_hosts,
    ):
        changes = {'"ssh_config"': f'"{name}"', '"known_hosts"': f'"{known_hosts}"'}
        cluster = load(cluster_variant(changes))
        LOGINS[stack](cluster, cluster.node("node2"))


def test_trusted_by_fingerprint_all_three_get_in(sandbox: Sandbox, cluster_variant: Callable[..., Path]) -> None:
    with written(sandbox, "trusted", "# mine\n") as name:
        cluster = load(cluster_variant({**NO_CONFIG, '"known_hosts"': f'"{name}"'}))
        asked: list[trust.Trust] = []

        def ask(offer: trust.Trust) -> bool:
            asked.append(offer)
            return offer.node != "node3"

        changes = trust.run(cluster, cluster.nodes, ask)
        assert [change.state for change in changes] == ["recorded", "recorded", "refused"]
        for offer in asked:
            known = {trust.fingerprint(key) for key in keys_of(sandbox, offer.node)}
            assert offer.fingerprint in known
        assert cluster.known_hosts.read_text(encoding="utf-8").startswith("# mine\n")
        assert stat.S_IMODE(cluster.known_hosts.stat().st_mode) == 0o600
        for stack in STACKS:
            LOGINS[stack](cluster, cluster.node("node1"))
            with pytest.raises(UnreachableError, match="not on record"):
                LOGINS[stack](cluster, cluster.node("node3"))
        again = trust.run(cluster, cluster.nodes, lambda _: False)
        assert [change.state for change in again] == ["known", "known", "refused"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_node_that_is_off_is_one_row_and_the_others_finish(
    sandbox: Sandbox, cluster_variant: Callable[..., Path], stack: str
) -> None:
    cluster = load(cluster_variant(append="\n[limits]\nconnect_timeout = 4\n"))
    with sandbox.off("node2"):
        found = for_each(cluster.nodes, lambda node: LOGINS[stack](cluster, node), parallel=3)
    assert found["node1"] is None
    assert found["node3"] is None
    lost = found["node2"]
    assert isinstance(lost, UnreachableError)
    assert lost.exit_code == 8
    assert lost.remedy
    assert str(lost).startswith("node2: ")


def test_the_next_command_finds_the_connection_of_the_one_before(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)
    node = cluster.node("node3")
    argv = openssh_argv(resolve(cluster, node))
    with open_session(cluster, node) as session:
        session.call("provisioning.node.observe", {"questions": {}})
    before = subprocess.run([argv[0], "-O", "check", *argv[1:]], check=True, capture_output=True)
    path = Path(next(value for value in argv if value.startswith("ControlPath=")).partition("=")[2].strip('"'))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    with open_session(cluster, node) as session, open_session(cluster, node, anew=True) as other:
        for each in (session, other):
            each.call("provisioning.node.observe", {"questions": {}})
    after = subprocess.run([argv[0], "-O", "check", *argv[1:]], check=True, capture_output=True)
    assert after.stderr != before.stderr, "the same process holds the connection"
    # one that is dead is no obstacle
    subprocess.run([argv[0], "-O", "exit", *argv[1:]], check=True, capture_output=True)
    by_openssh(cluster, node)


def test_a_node_that_is_lost_while_openssh_runs_a_program(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)
    with open_session(cluster, cluster.node("node2")) as session, session.open(MEET, {}, timeout=120) as talk:
        talk.send({"do": "clock"})
        assert "time" in (talk.receive() or {})
        with sandbox.cut_off("node2"), pytest.raises(UnreachableError, match="the connection was lost"):
            # Something must be on its way for TCP to notice; keepalives are.
            talk.receive()


def test_a_node_that_is_lost_while_asyncssh_runs_a_program(sandbox: Sandbox) -> None:
    cluster = load(sandbox.cluster_file)

    async def run() -> ProvisionError:
        process = await start(cluster, cluster.node("node2"), MEET, {})
        cut, heal = threading.Event(), threading.Event()

        def harm() -> None:
            with sandbox.cut_off("node2"):
                cut.set()
                heal.wait(100)

        harming = asyncio.create_task(asyncio.to_thread(harm))
        await asyncio.to_thread(cut.wait, 60)
        try:
            async with asyncio.timeout(60):
                await process.receive()
        except ProvisionError as error:
            return error
        finally:
            heal.set()
            await harming
            await process.close()
        raise AssertionError("the loss was not noticed")

    error = asyncio.run(run())
    assert isinstance(error, UnreachableError)
    assert "the connection was lost" in str(error)
