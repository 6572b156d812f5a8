"""A host of the cluster drives a run: this machine may go, nothing is lost, and in the end everything is here."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from practice import EXPERIMENTS, NODES, Commands, folder_of, left_on_nodes, rows, wait_until

from provisioning.inventory import load
from provisioning.ssh import resolve
from provisioning.wires import retire
from timeeval.run.driven import FILE_NAME, Driven
from timeeval.run.provenance import state_of_code

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

OWN = EXPERIMENTS / "own_modules" / "run.py"
SLOW = EXPERIMENTS / "slow.py"
HELD = EXPERIMENTS / "held.py"
KEYS = "cat /home/bench/.ssh/authorized_keys | sort; ls -A /home/bench/.ssh | grep -v known_hosts; true"


def shell(sandbox: Sandbox, name: str, script: str, user: str = "root") -> str:
    return sandbox.node(name).exec(["sh", "-c", script], user=user).stdout.strip()


@pytest.fixture
def keys_as_before(sandbox: Sandbox) -> Iterator[None]:
    """Demand that no key is on any node afterwards that was not there before, and nothing of a run."""
    before = {name: shell(sandbox, name, KEYS) for name in NODES}
    yield
    assert {name: shell(sandbox, name, KEYS) for name in NODES} == before
    assert left_on_nodes(sandbox) == {}


@pytest.fixture
def logins(sandbox: Sandbox, keys_as_before: None) -> Iterator[None]:
    """Give node1 logins of its own at the others, as the guide's passwordless SSH does."""
    make = "ssh-keygen -q -t ed25519 -N '' -C on-host -f ~bench/.ssh/id_ed25519 && cat ~bench/.ssh/id_ed25519.pub"
    public = shell(sandbox, "node1", make, "bench")
    for name in NODES[1:]:
        shell(sandbox, name, f"echo '{public}' >>~bench/.ssh/authorized_keys", "bench")
    yield
    shell(sandbox, "node1", "rm ~bench/.ssh/id_ed25519 ~bench/.ssh/id_ed25519.pub", "bench")
    for name in NODES[1:]:
        shell(sandbox, name, "sed -i '/ on-host$/d' ~bench/.ssh/authorized_keys", "bench")


def driven_on(sandbox: Sandbox, name: str) -> str:
    return shell(sandbox, name, "ls -d /srv/timeeval/state/driven/* 2>/dev/null; true")


def scores_in(folder: Path) -> list[Path]:
    return list(folder.rglob("anomaly_scores.ts"))


def document(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def test_a_run_driven_where_the_others_are_reached_comes_home_whole(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, logins: None
) -> None:
    for name in NODES[1:]:
        sandbox.node(name).part()  # this machine reaches node1 alone
    try:
        done = commands.run("timeeval-run", OWN, "--cluster", provisioned, "--on", "node1", "--results", results)
    finally:
        for name in NODES[1:]:
            sandbox.node(name).meet()

    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(results)
    assert (folder / "results.csv").read_text(encoding="utf-8").count("Status.OK") == 3
    assert len(list(folder.rglob("anomaly_scores.ts"))) == 3
    assert document(folder, "driver.json")["host"] == "node1"
    assert (folder / "driver.log").stat().st_mode & 0o777 == 0o600
    (run,) = document(folder, "run.json")["runs"]
    assert run["hosts"].keys() == set(NODES)
    assert run["git"]["commit"] == state_of_code(OWN.parent)["commit"]
    assert run["local_modules"].keys() >= {"late", "methods.deep.median"}
    assert not (folder / FILE_NAME).exists(), "an ordinary results folder from now on"
    assert driven_on(sandbox, "node1") == ""
    shown = commands.run("timeeval-results", "show", folder)
    assert shown.stdout.count(" ok ") == 3, shown.stderr
    assert "are on their hosts only" not in shown.stdout


@pytest.fixture
def hold(sandbox: Sandbox) -> Iterator[str]:
    """Return a file on all nodes for which held experiments wait to go."""
    path = f"/var/tmp/timeeval-hold-{time.time_ns()}"
    for name in NODES:
        shell(sandbox, name, f"touch {path}")
    yield path
    for name in NODES:
        shell(sandbox, name, f"rm -f {path}")


@pytest.mark.usefixtures("logins")
def test_the_laptop_is_killed_and_other_commands_go_on(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, hold: str
) -> None:
    options = ["--cluster", provisioned, "--on", "node1", "--results", results]
    laptop = commands.start("timeeval-run", HELD, *options, "--", hold)
    assert laptop.stdout is not None
    assert next(line for line in laptop.stdout if line.startswith("ok  free "))
    folder = folder_of(results)
    wait_until(lambda: scores_in(folder), 60, "scores of what is finished, while the run goes on")
    commands.kill(laptop)
    note = Driven.of(folder)
    assert note is not None
    assert shell(sandbox, "node1", f"stat -c %a {note.folder}") == "700"
    assert shell(sandbox, "node1", f"grep -rl PRIVATE {note.folder}; true") == ""

    refused = commands.run("timeeval-run", HELD, "--resume", folder, "--", hold)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "node1: the run of this folder goes on here" in refused.stderr

    def all_that_is_finished() -> bool:  # its files reach node1 a moment after it has ended
        early = commands.run("timeeval-results", "fetch", folder)
        assert early.returncode == 0, early.stdout + early.stderr
        assert "the run goes on on node1" in early.stdout
        return len(scores_in(folder)) == 2

    wait_until(all_that_is_finished, 60, "both finished experiments")
    assert (folder / "results.csv").read_text(encoding="utf-8").count("Status.OK") == 2
    stopped = commands.run("timeeval-results", "stop", folder, "--now")
    assert stopped.returncode == 0, stopped.stderr
    assert f"--resume {folder}`" in stopped.stdout

    for name in NODES:
        shell(sandbox, name, f"rm {hold}")
    resumed = commands.run("timeeval-run", HELD, "--resume", folder, "--detach", "--", hold)
    assert resumed.returncode == 0, resumed.stderr
    assert "the run is up on node1 and goes on without this machine" in resumed.stdout
    watched = commands.run("timeeval-results", "watch", folder)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert watched.stdout.splitlines()[-1] == "ended with exit code 0: 4 ok"
    fetched = commands.run("timeeval-results", "fetch", folder)
    assert fetched.returncode == 0, fetched.stderr

    found = [row["outcome"] for row in rows(commands, folder)]
    assert len(found) == 4
    assert set(found) <= {"ok", "cached"}
    assert driven_on(sandbox, "node1") == ""


def test_a_host_that_cannot_drive_is_refused_with_the_reason(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, keys_as_before: None
) -> None:
    def refused(*options: object) -> subprocess.CompletedProcess[str]:
        return commands.run("timeeval-run", SLOW, "--cluster", provisioned, "--results", results, *map(str, options))

    stranger = refused("--on", "node9", "--", "1", "1")
    assert stranger.returncode == 2
    assert "has no host 'node9'. Its hosts: node[1-3]" in stranger.stderr

    locked_out = refused("--on", "node1", "--", "1", "1")
    assert locked_out.returncode == 8, locked_out.stderr
    assert re.search(r"node2: \S+ does not let bench in", locked_out.stderr)
    assert "--exclude node2,node3" in locked_out.stderr
    assert driven_on(sandbox, "node1") == ""

    broken = refused("--on", "node1", "--limit", "node1")  # the script misses its arguments there
    assert broken.returncode == 1
    assert "IndexError" in broken.stderr
    assert driven_on(sandbox, "node1") == ""

    receipts = list((provisioned.parent / ".timeeval").glob("*/receipts/node1.json"))
    assert len(receipts) == 1
    moved = receipts[0].rename(receipts[0].with_suffix(".away"))
    try:
        unproven = refused("--on", "node1", "--", "1", "1")
    finally:
        moved.rename(receipts[0])
    assert unproven.returncode == 16, unproven.stderr
    assert "node1: it may not drive a run: " in unproven.stderr
    assert "timeeval-provision up" in unproven.stderr
    assert list(results.iterdir()) == []


SSHD = (
    "/usr/sbin/sshd -D -p {port} -o ListenAddress={address} -o PidFile=none -o UsePAM=no "
    "-o PasswordAuthentication=yes -o AuthenticationMethods=publickey,password"
)
ASKING_PORT = 2201


@pytest.fixture
def asking(sandbox: Sandbox, logins: None) -> Iterator[Path]:
    """Let node1 have a second server, which wants a password beside the key; gives the host keys with its own."""
    address = sandbox.node("node1").address
    shell(sandbox, "node1", "cp -p /etc/shadow /run/shadow && echo bench:opensesame | chpasswd")
    command = SSHD.format(port=ASKING_PORT, address=address)
    shell(
        sandbox,
        "node1",
        f"setsid {command} >/dev/null 2>&1 & until ss -Hltn | grep -q :{ASKING_PORT}; do sleep 0.1; done",
    )
    lines = (sandbox.folder / "known_hosts").read_text(encoding="utf-8").splitlines()
    lines += [f"[{address}]:{ASKING_PORT} {line.split(' ', 1)[1]}" for line in lines if line.startswith("node1,")]
    known = sandbox.folder / f"known-asking-{time.time_ns()}"
    known.write_text("\n".join(lines) + "\n", encoding="utf-8")
    yield known
    known.unlink()
    end = f"kill $(ss -Hltnp 'sport = :{ASKING_PORT}' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)"
    shell(sandbox, "node1", f"mv /run/shadow /etc/shadow; {end}")


def test_a_host_that_asks_for_more_than_a_key_asks_once(  # noqa: PLR0917 - fixtures
    provisioned: Path,
    commands: Commands,
    sandbox: Sandbox,
    results: Path,
    asking: Path,
    cluster_variant: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = sandbox.node("node1").address
    file = cluster_variant(
        {f'address = "{address}"': f'address = "{address}"\nport = {ASKING_PORT}', '"known_hosts"': f'"{asking.name}"'}
    )
    run = ["timeeval-run", SLOW, "--cluster", file, "--on", "node1", "--results", results]
    monkeypatch.delenv("SSH_ASKPASS", raising=False)
    refused = subprocess.run(
        ["setsid", *commands.argv(*map(str, run)), "--", "0.1", "2"],
        cwd=commands.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert refused.returncode == 8, refused.stdout + refused.stderr
    assert f"node1: {address}:{ASKING_PORT} asks bench for more than a key (password)" in refused.stderr
    assert "run this from a terminal" in refused.stderr
    assert list(results.iterdir()) == []

    person = tmp_path / "person"
    person.write_text(f"#!/bin/sh\necho asked >>{tmp_path}/asked\necho opensesame\n", encoding="utf-8")
    person.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(person))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    try:
        done = commands.run(*run, "--", "0.1", "2")
    finally:
        retire(resolve(load(file), load(file).node("node1")))
    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(results)
    assert (folder / "results.csv").read_text(encoding="utf-8").count("Status.OK") == 2
    assert not (folder / FILE_NAME).exists()
    assert (tmp_path / "asked").read_text(encoding="utf-8").split() == ["asked"]
