"""Nodes that ask a person for more than a key, with an `ssh` of the test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning.asking import open_asking
from provisioning.cleaning import Wish, clean
from provisioning.commands import Options, carry_out
from provisioning.errors import UnreachableError
from provisioning.everywhere import execute
from provisioning.inventory import Cluster, Node
from provisioning.launch import open_session
from provisioning.ssh_errors import AsksMoreError

FAR = Node("far", address="127.0.0.1", port=1)
TALK = "node_programs.talk"
INDEX = Path(__file__).parents[2] / "examples" / "data" / "nab" / "datasets.csv"
ECHO = {"action": "echo", "events": 0, "text": "a"}
# Who was let in once is let in: that is what the shared connection does.
SSH = """#!/bin/sh
[ "$1" = -G ] && exec {real} "$@"
case "$*" in
*BatchMode=no*)
    echo "$@" >>{folder}/asked
    [ -e {folder}/right ] || {{ echo 'bench@far: Permission denied (keyboard-interactive).' >&2; exit 255; }}
    touch {folder}/in
    exec /bin/sh;;
esac
[ -e {folder}/in ] && exec /bin/sh
echo 'bench@far: Permission denied (keyboard-interactive).' >&2
exit 255
"""


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster whose node wants more than a key, and a person who is there."""
    program = tmp_path / "ssh"
    program.write_text(SSH.format(real=shutil.which("ssh"), folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SSH_ASKPASS", "/somewhere")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    local, folder = Node("local", is_driver=True), PurePosixPath("/srv/timeeval")
    file, known = tmp_path / "cluster.toml", tmp_path / "known_hosts"
    return Cluster("test", file, (FAR,), local, local, folder / "results", PurePosixPath(tmp_path / "state"), known)


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


def test_who_asks_for_more_is_answered_once_and_everything_else_goes_over_that_login(
    far: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "right").touch()
    for _ in range(2):
        with open_asking(far, FAR) as session:
            assert session.call(TALK, ECHO)["said"] == "A!"
    with open_session(far, FAR) as session:
        assert session.call(TALK, ECHO)["said"] == "A!"
    (command,) = asked(tmp_path)
    told = command.split()
    assert told.index("BatchMode=no") < told.index("BatchMode=yes"), "of what is said twice OpenSSH takes the first"
    assert "StrictHostKeyChecking=yes" in told
    assert "ControlMaster=auto" in told
    assert command.endswith(" far /bin/sh")


def test_a_wrong_answer_is_told(far: Cluster, tmp_path: Path) -> None:
    with pytest.raises(AsksMoreError, match=r"^far: .*keyboard-interactive\); what was answered did not get in; try"):
        open_asking(far, FAR)
    assert len(asked(tmp_path)) == 1


@pytest.mark.parametrize("background", [False, True])
def test_where_nobody_can_be_asked_nobody_is(
    far: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    monkeypatch.delenv("SSH_ASKPASS")
    monkeypatch.setattr("provisioning.asking.open_session", _refused)
    opened: list[int] = []

    def terminal(path: str, flags: int) -> int:
        assert path == "/dev/tty"
        if not background:
            raise OSError("no such device or address")
        opened.append(os.dup(2))
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", terminal)
        patch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
        with pytest.raises(AsksMoreError, match=r"^far: asks for more; run this from a terminal, where .*, or mend it"):
            open_asking(far, FAR)
    assert asked(tmp_path) == []
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_other_commands_ask_nobody(far: Cluster, tmp_path: Path) -> None:
    (tmp_path / "right").touch()
    with pytest.raises(UnreachableError, match=r"^far: .* for more than a key \(keyboard-interactive\); let a"):
        open_session(far, FAR)
    assert asked(tmp_path) == []


@pytest.fixture
def file(far: Cluster, tmp_path: Path) -> Path:
    """The cluster file of the same, with a dataset."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "datasets.csv").write_text(INDEX.read_text().splitlines()[0] + "\n")
    text = f'[cluster]\nname = "test"\nhosts = ["far"]\nresults = "{tmp_path}/results"\nstate = "{tmp_path}/state"\n'
    text += 'known_hosts = "known_hosts"\n[host.far]\naddress = "127.0.0.1"\nport = 1\n'
    far.file.write_text(f'{text}[[datasets]]\nsource = "data"\npath = "{tmp_path}/there"\n')
    return far.file


def _sync(file: Path) -> tuple[int, list[str]]:
    report, code = carry_out("sync-datasets", Options(file, dry_run=True), _heard)
    return code, [str(node.error or node.state) for node in report.nodes]


def _exec(file: Path) -> tuple[int, list[str]]:
    return execute(Options(file), ["echo", "a"], _heard)


def _clean(file: Path) -> tuple[int, list[str]]:
    return clean(Wish(Options(file, dry_run=True), everything=False, agree=lambda _: False), _heard)


@pytest.mark.parametrize(
    ("command", "said"),
    [(_sync, ["due"]), (_exec, ["far:", "a"]), (_clean, ["nothing of ours is there"])],
    ids=["sync-datasets", "exec", "clean"],
)
def test_commands_ask_for_each_node_once(
    file: Path, tmp_path: Path, command: Callable[[Path], tuple[int, list[str]]], said: list[str]
) -> None:
    code, lines = command(file)
    assert code == UnreachableError.exit_code
    assert "what was answered did not get in" in lines[0]
    assert len(asked(tmp_path)) == 1
    (tmp_path / "right").touch()
    for _ in range(2):
        assert command(file) == (0, said)
    assert len(asked(tmp_path)) == 2


def _heard(_node: str, _event: dict[str, Any]) -> None:
    pass


def _refused(*_: object) -> None:
    raise AsksMoreError("asks for more", host="far", remedy="mend it")
