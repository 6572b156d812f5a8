"""What outlives a logout, decided from a machine's files and its logind's answers; the test makes both."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioning.node import logind

USER = pwd.getpwuid(os.getuid()).pw_name
LOGIN = "0::/user.slice/user-7.slice/session-3.scope\n"
BUSCTL = """#!/bin/sh
echo "$*" >>{root}/asked
echo "$XDG_RUNTIME_DIR $DBUS_SESSION_BUS_ADDRESS" >>{root}/buses
case "$1" in
get-property) {property} ;;
--user) {move} ;;
esac
"""
SAYS = "printf '%s\\n' 'b true' 'as {only}' 'as {excluded}'"
MOVES = "echo 0::/user.slice/user-7.slice/user@7.service/app.slice/timeeval.scope >{root}/proc/self/cgroup"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a machine: its files below a folder, and a ``busctl`` that answers for its logind."""
    monkeypatch.setattr(logind, "MOVE_SECONDS", 0.2)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(path: str, text: str = "") -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")

    def make(group: str = LOGIN, property: str = "exit 1", move: str = "exit 1", **files: str) -> str:  # noqa: A002
        write("proc/self/cgroup", group)
        for path, text in files.items():
            write(path, text)
        told = {"root": tmp_path, "property": property, "move": move.replace("{root}", str(tmp_path))}
        program = folder / "busctl"
        program.write_text(BUSCTL.format(**told), encoding="utf-8")
        program.chmod(0o755)
        return str(tmp_path)

    return make


LINGERS = {f"var/lib/systemd/linger/{USER}": ""}
MANAGER = {f"run/user/{os.getuid()}/bus": ""}
KILLS = SAYS.format(only="0", excluded="0")


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("0::/system.slice/cron.service\n", KILLS),
        ("12:pids:/docker/ab\n0::/\n", KILLS),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/x.scope\n", KILLS),
        (LOGIN, "printf '%s\\n' 'b false' 'as 0' 'as 0'"),
        (LOGIN, SAYS.format(only='1 "somebody"', excluded="0")),
        (LOGIN, SAYS.format(only="0", excluded=f'2 "root" "{USER}"')),
    ],
)
def test_what_no_login_ends(machine: Callable[..., str], group: str, says: str) -> None:
    root = machine(group, says)
    assert logind.peril(root) is None
    assert logind.shelter(root) is None
    assert "call" not in (Path(root, "asked").read_text(encoding="utf-8") if Path(root, "asked").exists() else "")


@pytest.mark.parametrize(("files", "remedy"), [({}, "enable-linger"), (MANAGER, "enable-linger"), (LINGERS, "log in")])
def test_what_a_login_ends_for_lack_of_a_lasting_manager(
    machine: Callable[..., str], files: dict[str, str], remedy: str
) -> None:
    root = machine(property=KILLS, move=MOVES, **files)
    for found in (logind.peril(root), logind.shelter(root)):
        assert found is not None
        assert found["message"] == f"logind ends all that {USER} leaves behind at logout (KillUserProcesses=yes)"
        assert remedy in found["remedy"]
    assert "--user" not in Path(root, "asked").read_text(encoding="utf-8")


def test_a_lasting_manager_takes_the_process_over(machine: Callable[..., str]) -> None:
    root = machine(property=KILLS, move=MOVES, **LINGERS, **MANAGER)
    assert logind.peril(root) is None
    assert "--user" not in Path(root, "asked").read_text(encoding="utf-8"), "looking moves nothing"

    assert logind.shelter(root) is None

    asked = Path(root, "asked").read_text(encoding="utf-8").splitlines()[-1]
    assert asked.startswith("--user call org.freedesktop.systemd1 ")
    assert f"PIDs au 1 {os.getpid()} " in asked
    bus = Path(root, "buses").read_text(encoding="utf-8").splitlines()[-1]
    assert bus == f"{root}/run/user/{os.getuid()} unix:path={root}/run/user/{os.getuid()}/bus"
    assert logind.shelter(root) is None, "it is there already"


@pytest.mark.parametrize(("move", "why"), [("exit 1", "did not take it over"), ("exit 0", "not taken it over after")])
def test_a_manager_that_does_not_is_believed_by_its_deeds(machine: Callable[..., str], move: str, why: str) -> None:
    found = logind.shelter(machine(property=KILLS, move=move, **LINGERS, **MANAGER))
    assert found is not None
    assert why in found["message"]


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, False),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, False),
        ({"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n"}, True),
        ({"etc/systemd/logind.conf": f"KillUserProcesses=1\nKillExcludeUsers=root {USER}\n"}, False),
        ({"etc/systemd/logind.conf": "KillUserProcesses=on\nKillExcludeUsers=\nKillOnlyUsers=one two\n"}, False),
        (
            {
                "usr/lib/systemd/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=\n",
                "etc/systemd/logind.conf.d/10.conf": "KillUserProcesses=no\n",
            },
            False,
        ),
        (
            {
                "etc/systemd/logind.conf.d/10.conf": "KillUserProcesses=no\n",
                "run/systemd/logind.conf.d/20.conf": "KillUserProcesses=yes\nKillExcludeUsers=\n",
            },
            True,
        ),
        (
            {
                "etc/systemd/logind.conf.d/20.conf": "KillUserProcesses=no\n",
                "run/systemd/logind.conf.d/20.conf": "KillUserProcesses=yes\nKillExcludeUsers=\n",
            },
            False,
        ),
    ],
)
def test_where_logind_does_not_answer_its_files_are_read(
    machine: Callable[..., str], files: dict[str, str], ends: bool
) -> None:
    assert (logind.peril(machine(**files)) is not None) is ends


def test_this_machine_can_be_asked() -> None:
    found = logind.peril()
    assert found is None or found.keys() == {"message", "remedy"}
