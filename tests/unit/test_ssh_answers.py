"""OpenSSH is asked once how a node is reached, and again whenever its answer may be another one."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning import ssh_answers, ssh_config
from provisioning.errors import UnreachableError
from provisioning.inventory import Cluster, Node
from provisioning.ssh import Endpoint, resolve

PLAIN = "# match nothing\nHost node1\n  HostName 10.0.0.1\n  User=alice\nHost *\n  Port 2222\n"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Endpoint, int]]:
    """Return how a node is reached, as a new command would, and how often ssh was started for it so far."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ssh_answers, "AT_REST_SECONDS", -1)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho >> {tmp_path}/asked\nexec {shutil.which("ssh")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    (tmp_path / "config").write_text(PLAIN)
    (tmp_path / "asked").touch()
    node = Node("node1")
    cluster = Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(node,),
        driver=Node("local", is_driver=True),
        scheduler=node,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
        ssh_config=tmp_path / "config",
    )

    def answered() -> tuple[Endpoint, int]:
        ssh_config._answer.cache_clear()
        ssh_answers._stamp.cache_clear()
        ssh_config.ask_ahead(cluster, [node])
        return resolve(cluster, node), len((tmp_path / "asked").read_text().splitlines())

    return answered


def test_ssh_is_asked_once(ask: Callable[[], tuple[Endpoint, int]]) -> None:
    first, _ = ask()
    assert (first.hostname, first.user, first.port) == ("10.0.0.1", "alice", 2222)
    assert ask() == (first, 1)


def test_a_changed_configuration_is_read_again(ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path) -> None:
    ask()
    (tmp_path / "config").write_text(PLAIN.replace("10.0.0.1", "10.0.0.2"))
    assert [(endpoint.hostname, count) for endpoint, count in (ask(), ask())] == [("10.0.0.2", 2), ("10.0.0.2", 2)]


def test_another_openssh_is_asked_anew(ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path) -> None:
    ask()
    with (tmp_path / "bin" / "ssh").open("a") as program:
        program.write("# another version\n")
    assert ask()[1] == 2


@pytest.mark.parametrize(
    "line",
    [
        "Match exec true\n  User bob\n",
        "\tmatch host node1\n",
        "MATCH=host node1\n",
        "CanonicalizeHostname no\n",
        "IdentityFile ${HOME}/key\n",
        "Include {folder}/there\n",
        "Include {folder}/there {folder}/not\n",
        "Include {folder}/*/not\n",
        '"Include" {folder}/not\n',
    ],
)
def test_what_depends_on_more_than_files_is_asked_each_time(
    ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path, line: str
) -> None:
    (tmp_path / "there").write_text("Host *\n  Compression yes\n")
    (tmp_path / "config").write_text(line.replace("{folder}", str(tmp_path)) + PLAIN)
    assert [ask()[1], ask()[1]] == [1, 2]


@pytest.mark.parametrize("where", ["", "made/later/"])
def test_a_file_that_comes_to_be_included_is_read(
    ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path, where: str
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "config").write_text(f"Include {tmp_path}/more/{where}*.conf\n{PLAIN}")
    assert [ask()[0].user, ask()[1]] == ["alice", 1]
    (tmp_path / "more" / where).mkdir(parents=True, exist_ok=True)
    (tmp_path / "more" / where / "bob.conf").write_text("Host *\n  User bob\n")
    assert ask()[0].user == "bob"


def test_what_has_changed_a_moment_ago_is_not_believed(
    ask: Callable[[], tuple[Endpoint, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have changed again while ssh read it."""
    monkeypatch.setattr(ssh_answers, "AT_REST_SECONDS", 60)
    assert [ask()[1], ask()[1]] == [1, 2]


@pytest.mark.parametrize("harm", ["", "[]", "{}", '{"files": {}, "answer": []}', '{"files": [], "answer": {}}'])
def test_a_damaged_answer_is_asked_again(ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path, harm: str) -> None:
    first, _ = ask()
    (file,) = (tmp_path / "cache" / "timeeval-cluster" / "ssh").iterdir()
    file.write_text(harm)
    assert ask() == (first, 2)


def test_an_answer_that_others_could_have_written_is_not_believed(
    ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path
) -> None:
    first, _ = ask()
    (file,) = (tmp_path / "cache" / "timeeval-cluster" / "ssh").iterdir()
    file.write_text(file.read_text().replace("10.0.0.1", "10.6.6.6"))
    file.chmod(0o666)
    assert ask() == (first, 2)


def test_without_a_file_of_the_cluster_this_users_own_counts_also_where_it_is_absent(tmp_path: Path) -> None:
    (tmp_path / "system").write_text(PLAIN)
    log = f"OpenSSH_9.2\ndebug1: Reading configuration data {tmp_path}/system\n"
    own = f"{pwd.getpwuid(os.getuid()).pw_dir}/.ssh/config"
    assert ssh_answers._sources(log, ()) == [shutil.which("ssh"), f"{tmp_path}/system", own]
    assert ssh_answers._sources(log.replace(f"{tmp_path}/system", own), ()) is None  # where is the system's?
    assert ssh_answers._sources("", ()) is None
    assert ssh_answers._sources("", ("-F", "none")) is None


def test_all_that_are_stuck_have_the_same_time(
    ask: Callable[[], tuple[Endpoint, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of the configuration may hang for every node: that is told after one time limit, not after many."""
    first, _ = ask()
    cluster = Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(first.node, Node("node2"), Node("node3")),
        driver=Node("local", is_driver=True),
        scheduler=first.node,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
        ssh_config=tmp_path / "config",
    )
    (tmp_path / "config").write_text(f'Match exec "cat {tmp_path}/never"\n  User x\n{PLAIN}')
    os.mkfifo(tmp_path / "never")
    ssh_config._answer.cache_clear()
    ssh_answers._stamp.cache_clear()
    given: list[float] = []
    real = ssh_config.subprocess.Popen.communicate

    def communicate(self: Any, *args: Any, timeout: float | None = None) -> Any:
        given.append(timeout or 0.0)
        return real(self, *args, timeout=timeout)

    monkeypatch.setattr(ssh_config, "ASK_SECONDS", 0.5)
    ssh_config.ask_ahead(cluster, cluster.nodes)
    monkeypatch.setattr(ssh_config.subprocess.Popen, "communicate", communicate)
    for node in cluster.nodes:
        with pytest.raises(UnreachableError, match="did not answer"):
            resolve(cluster, node)
    os.close(os.open(tmp_path / "never", os.O_WRONLY))  # and what hangs may end
    assert sum(given) <= 1.0
