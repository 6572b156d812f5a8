"""The practice cluster is what it claims to be, and its harms are real and end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provisioning.errors import UsageError
from provisioning.sandbox.cluster import Sandbox
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.layout import FULL, LABEL
from provisioning.sandbox.lifecycle import down, up

SHELL_OF_USER = "getent passwd bench | cut -d: -f7"


def ssh(sandbox: Sandbox, name: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    argv = sandbox.ssh_argv(name, *command)
    argv[1:1] = options
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def agree(count: int) -> None:
    assert count > 0


def on_all(sandbox: Sandbox, *argv: str) -> list[str]:
    return [node.exec(list(argv)).stdout.strip() for node in sandbox.nodes]


def test_starting_again_changes_nothing(sandbox):
    assert up(sandbox.folder, nodes=None, consent=agree, say=print) == []


def test_nodes_take_the_key_and_nothing_else(sandbox):
    for node in sandbox.nodes:
        done = ssh(sandbox, node.name, "hostname; id -un")
        assert done.stdout.split() == [node.name, "bench"], done.stderr
    password = ssh(sandbox, "node1", "true", options=("-o", "PreferredAuthentications=password,keyboard-interactive"))
    assert password.returncode == 255
    assert "Permission denied (publickey)" in password.stderr
    root = ssh(sandbox, "node1", "true", options=("-l", "root"))
    assert root.returncode == 255


def test_sshd_listens_on_the_bridge_alone(sandbox):
    for node in sandbox.nodes:
        listening = node.exec(["ss", "-H", "-l", "-t", "-n"]).stdout.splitlines()
        ports = [line.split()[3] for line in listening if line.split()[3].endswith(":22")]
        assert ports == [f"{node.address}:22"]


def test_an_unknown_host_key_is_refused(sandbox, tmp_path):
    known = (sandbox.folder / "known_hosts").read_text(encoding="utf-8").splitlines()
    of_second = [line.split(" ", 1)[1] for line in known if line.startswith("node2,")]
    wrong = tmp_path / "known_hosts"
    wrong.write_text("".join(f"node1,{sandbox.node('node1').address} {key}\n" for key in of_second), encoding="utf-8")
    done = ssh(sandbox, "node1", "true", options=("-o", f"UserKnownHostsFile={wrong}"))
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_nodes_are_not_clones_of_one_another(sandbox):
    count = len(sandbox.nodes)
    for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert len(set(on_all(sandbox, "cat", path))) == count
    assert len(set(on_all(sandbox, "docker", "info", "--format", "{{.ID}}"))) == count


def test_the_nested_engine_runs_a_container_and_ends_one_that_takes_too_much_memory(sandbox):
    node = sandbox.node("node1")
    make = (
        "tar -C / -ch bin/dash lib64/ld-linux-x86-64.so.2 lib/x86_64-linux-gnu/libc.so.6"
        " | docker import - sandbox-test/tiny"
    )
    node.exec(["sh", "-c", make], user="bench")
    run = ["docker", "run", "--rm", "--memory", "32m", "--memory-swap", "32m", "sandbox-test/tiny", "/bin/dash", "-c"]
    try:
        assert node.exec([*run, "echo alive"], user="bench").stdout == "alive\n"
        greedy = node.exec([*run, "x=0123456789; while :; do x=$x$x; done"], user="bench", check=False)
        assert greedy.returncode == 137
    finally:
        node.exec(["docker", "rmi", "sandbox-test/tiny"], user="bench")


def test_a_node_that_is_off_comes_back_as_the_same_host(sandbox):
    with sandbox.off("node2") as node:
        assert sandbox.ailments() == {"node2": ["exited"]}
        assert ssh(sandbox, "node2", "true").returncode == 255
        assert ssh(sandbox, "node1", "true").returncode == 0
        with pytest.raises(SandboxError, match=r"(?s)node2: does not answer \(container exited\).*log of"):
            sandbox.wait([node], seconds=1)
    assert ssh(sandbox, "node2", "hostname").stdout == "node2\n"


def test_a_frozen_node_keeps_its_connection_and_answers_nothing(sandbox):
    with sandbox.frozen("node2"):
        assert sandbox.ailments() == {"node2": ["paused"]}
        assert ssh(sandbox, "node2", "true").returncode == 255
    assert ssh(sandbox, "node2", "true").returncode == 0


def test_a_node_that_is_cut_off_runs_but_cannot_be_reached(sandbox):
    with sandbox.cut_off("node3") as node:
        assert sandbox.ailments() == {"node3": ["cut"]}
        assert node.exec(["hostname"]).stdout == "node3\n"
        done = ssh(sandbox, "node3", "true")
        assert done.returncode == 255
        assert "timed out" in done.stderr
    assert ssh(sandbox, "node3", "true").returncode == 0


def test_a_full_disk_is_really_full(sandbox):
    with sandbox.full_disk("node1"):
        done = ssh(sandbox, "node1", f"echo more >{FULL}/file")
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        assert ssh(sandbox, "node1", "echo more >/srv/timeeval/file && rm /srv/timeeval/file").returncode == 0
    assert ssh(sandbox, "node1", f"echo more >{FULL}/file && rm {FULL}/file").returncode == 0


def test_only_a_small_file_system_is_ever_filled(sandbox):
    with pytest.raises(SandboxError, match="not a small file system"):
        sandbox.node("node1").fill_disk("/srv/timeeval")
    assert sandbox.heal() == {"node1": ["full"]}


@pytest.mark.parametrize("shell", ["bash", "tcsh", "fish"])
def test_a_login_shell_that_prints_a_banner(sandbox, shell):
    with sandbox.login_shell("node3", shell, "Welcome to node3, please behave!"):
        done = ssh(sandbox, "node3", SHELL_OF_USER)
        assert done.stdout.splitlines()[0] == "Welcome to node3, please behave!"
        assert done.stdout.splitlines()[1].endswith(f"/{shell}")
    after = ssh(sandbox, "node3", SHELL_OF_USER)
    assert after.stdout == "/bin/bash\n"


def test_a_login_shell_that_is_no_bash(sandbox):
    with sandbox.login_shell("node3", "dash"):
        assert ssh(sandbox, "node3", SHELL_OF_USER).stdout == "/bin/dash\n"


def test_what_is_down_is_mended_by_starting_again(sandbox):
    sandbox.node("node2").kill()
    sandbox.node("node3").disconnect()
    assert up(sandbox.folder, nodes=None, consent=agree, say=print) == ["node2 mended (exited)", "node3 mended (cut)"]


def test_another_folder_has_a_cluster_of_its_own(sandbox, tmp_path):
    mine = [node.container for node in sandbox.nodes]
    other = tmp_path / "other"
    try:
        up(other, nodes=2, consent=agree, say=print)
        second = Sandbox.load(other)
        assert not {node.address for node in second.nodes} & {node.address for node in sandbox.nodes}
        assert ssh(second, "node2", "hostname").stdout == "node2\n"
        here = ("-o", f"HostName={sandbox.node('node2').address}")
        known = ("-o", f"UserKnownHostsFile={sandbox.folder / 'known_hosts'}")
        stranger = ssh(second, "node2", "true", options=(*here, *known))
        assert "Permission denied (publickey)" in stranger.stderr
        assert not (other / "cluster.toml").read_text(encoding="utf-8").count("[[datasets]]")
        changes = up(other, nodes=1, consent=agree, say=print)
        assert f"{second.nodes[1].container} removed" in changes
    finally:
        removed = down(other)
    assert f"{second.nodes[0].container} removed" in removed
    engine = sandbox.nodes[0].engine
    left = engine.run("ps", "--all", "--filter", f"label={LABEL}={second.name}", "--format", "{{.Names}}")
    assert left == ""
    assert [item["Name"].removeprefix("/") for item in engine.inspect(mine)] == mine
    with pytest.raises(UsageError, match="no sandbox"):
        Sandbox.load(other)
    assert [path.name for path in Path(other).iterdir()] == ["lock"]
