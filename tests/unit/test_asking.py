"""Nodes that ask a person for more than a key, with an `ssh` of the test's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from provisioning.asking import open_asking
from provisioning.errors import UnreachableError
from provisioning.inventory import Cluster, Node
from provisioning.launch import open_session
from provisioning.ssh_errors import AsksMoreError

FAR = Node("far", address="127.0.0.1", port=1)
TALK = "node_programs.talk"
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


def _refused(*_: object) -> None:
    raise AsksMoreError("asks for more", host="far", remedy="mend it")
