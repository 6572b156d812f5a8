"""A log per command and host, its secrets masked; and what a bug report needs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provisioning import runlog
from provisioning.errors import UsageError
from provisioning.inventory import Cluster, load
from provisioning.masking import command_line, mask
from provisioning.runlog import RunLog
from provisioning.support import report


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "cluster.toml").write_text(
        '[cluster]\nname = "lab"\nhosts = ["here"]\ndriver = "here"\nresults = "/srv/r"\nstate = "/srv/s"\n'
        'known_hosts = "known_hosts"\n# index at https://ann:hunter2@pypi.lab/simple, password = "hunter2 too"\n'
    )
    return load(tmp_path / "cluster.toml")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("pip --index https://ann:hunter2@pypi.lab/simple x", "pip --index https://***@pypi.lab/simple x"),
        ('password = "hunter2 too"', 'password = "***"'),
        ("password: 'hunter2 too' and more", "password: '***' and more"),
        ('{"password": "hunter2\\" hunter2", "a": 1}', '{"password": "***", "a": 1}'),
        ('{"said": "{\\"token\\": \\"hunter2 too\\"}"}', '{"said": "{\\"token\\": \\"***\\"}"}'),
        ('{"said": "token=hunter2"}', '{"said": "token=***"}'),
        ("DB_PASS=hunter2 PGPASS=x PWD=/home/ann", "DB_PASS=*** PGPASS=x PWD=/home/ann"),
        ('said password="hunter2 and is cut', 'said password="***"'),
        ("Cookie: hunter2", "Cookie: ***"),
        ("private_key = hunter2", "private_key = ***"),
        ("3 passed, 1 bypass: no", "3 passed, 1 bypass: no"),
        ("--token hunter2 --limit a", "--token *** --limit a"),
        ('{"api_key": "hunter2", "node": "a"}', '{"api_key": "***", "node": "a"}'),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\nx", "***\nx"),
        ('key = "id_ed25519"', 'key = "id_ed25519"'),
        ("node1: observe environment", "node1: observe environment"),
    ],
)
def test_secrets_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert "hunter2" not in mask(text)


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["tool", "exec", "--", "login", "--password=hunter2 too"], "tool exec -- login '--password=***'"),
        (["tool", "--token", "hunter2 too", "--json"], "tool --token '***' --json"),
        (["tool", "exec", "--", "env", "DB_PASSWORD=hunter2 too", "run"], "tool exec -- env 'DB_PASSWORD=***' run"),
        (["curl", "-H", "Authorization: Bearer hunter2"], "curl -H 'Authorization: Bearer ***'"),
        (["tool", "--token", "--json"], "tool --token --json"),
        (["tool", "verify", "--limit", "a b"], "tool verify --limit 'a b'"),
    ],
)
def test_a_command_is_told_without_its_secrets(argv: list[str], shown: str) -> None:
    assert command_line(argv) == shown


def test_what_is_masked_in_json_stays_json(cluster: Cluster) -> None:
    with RunLog(cluster, "verify", ["node1"]) as kept:
        kept.finish([json.dumps({"node": "node1", "said": json.dumps({"token": 'hun"ter', "a": "b"})})], 16)
    said, _ = runlog.last(cluster, "node1") or ({}, {})
    assert json.loads(said["said"]) == {"token": "***", "a": "b"}


def test_a_log_has_a_file_per_host_and_the_outcome(cluster: Cluster) -> None:
    logger = logging.getLogger("provisioning.somewhere")
    before = logging.getLogger("provisioning").level
    with RunLog(cluster, "verify", ["node1", "node2"]) as kept:
        logger.debug("%s: looked at, password=hunter2", "node1")
        logger.info("about none of them")
        kept.finish([json.dumps({"node": "node1", "state": "failed"})], 16)
    assert logging.getLogger("provisioning").level == before
    assert kept.folder is not None
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in kept.folder.iterdir()} == {"command.log", "node1.log", "outcome.jsonl"}
    assert {path.stat().st_mode & 0o777 for path in kept.folder.iterdir()} == {0o600}
    assert "password=***" in (kept.folder / "node1.log").read_text()
    assert "about none" not in (kept.folder / "node1.log").read_text()
    assert "about none" in (kept.folder / "command.log").read_text()
    said, command = runlog.last(cluster, "node1") or ({}, {})
    assert (said["state"], command["command"], command["exit_code"]) == ("failed", "verify", 16)
    assert runlog.last(cluster, "node2") is None


def test_a_command_that_ends_early_says_so(cluster: Cluster) -> None:
    def fail() -> None:
        with RunLog(cluster, "up", []):
            raise UsageError("no index", remedy="write one")

    with pytest.raises(UsageError):
        fail()
    (run,) = runlog.runs(cluster)
    assert runlog.outcomes(run)[-1]["error"] == "no index; write one"
    assert runlog.outcomes(run)[-1]["exit_code"] == 2
    assert "ended by UsageError: no index" in (run / "command.log").read_text()


@pytest.mark.parametrize("ending", [UsageError("no index"), KeyboardInterrupt()], ids=["an error", "Ctrl-C"])
def test_why_a_command_ended_is_told_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, ending: BaseException
) -> None:
    """Whoever catches it says it on the terminal; records below warnings are for the log alone."""
    with pytest.raises(type(ending)), RunLog(cluster, "clean", ["here"]):
        raise ending
    (run,) = runlog.runs(cluster)
    assert f"ended by {type(ending).__name__}" in (run / "command.log").read_text()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_only_so_many_commands_and_bytes_are_kept(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "RUNS", 3)
    monkeypatch.setattr(runlog, "LARGEST", 1000)
    for number in range(5):
        with RunLog(cluster, f"verb{number}", []) as kept:
            for _ in range(100):
                logging.getLogger("provisioning").info("a line that is not short at all")
            kept.finish([], 0)
    assert [runlog.outcomes(run)[-1]["command"] for run in runlog.runs(cluster)] == ["verb2", "verb3", "verb4"]
    text = (runlog.runs(cluster)[-1] / "command.log").read_text()
    assert len(text) < 1100
    assert text.endswith("the rest is left out\n")


def test_without_a_place_a_command_goes_on(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    runlog.folder(cluster).parent.mkdir(parents=True)
    runlog.folder(cluster).write_text("a file")
    with RunLog(cluster, "check", []) as kept:
        kept.finish([], 0)
    assert kept.folder is None
    assert "no log is kept" in caplog.text


def command(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", "from provisioning.cli import main; main()", *args]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_a_bug_report_has_versions_the_file_and_the_last_commands(cluster: Cluster, tmp_path: Path) -> None:
    done = command("exec", "--", "sh", "-c", "echo said; exit 3", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert done.stdout == "here: ended with status 3\nsaid\n"
    told = command("--support", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    for part in ("== versions", "timeeval-cluster 0.", "paramiko ", 'name = "lab"', "exit code 4 at", "exec -- sh"):
        assert part in told.stdout
    assert "hunter2" not in told.stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert command("--support", str(cluster.file), cwd=elsewhere).stdout.count("== ") == told.stdout.count("== ")


def test_a_bug_report_can_be_made_of_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.toml").write_text("[cluster\n")
    assert any("cannot be read" in line for line in report(tmp_path / "cluster.toml"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "rsync: is not installed" in list(report(tmp_path / "cluster.toml"))


def test_a_command_that_was_killed_is_told_of(cluster: Cluster) -> None:
    with RunLog(cluster, "up", []) as kept:
        kept.finish([], 0)
    assert kept.folder is not None
    (kept.folder / runlog.OUTCOME).unlink()
    told: list[Any] = list(report(cluster.file))
    assert "it has not ended, or not by itself" in told
    assert os.fspath(kept.folder) in "\n".join(told)
