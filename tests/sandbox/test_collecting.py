"""Results travel from real nodes while the run goes on, and what was left is fetched later."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from practice import EXPERIMENTS, NODES, folder_of, rows, wait_until

if TYPE_CHECKING:
    from practice import Commands

    from provisioning.sandbox.cluster import Sandbox

SCRIPT = EXPERIMENTS / "models.py"
SCORES, MODEL = "anomaly_scores.ts", "model.bin"


@pytest.fixture
def go(sandbox: Sandbox) -> Iterator[str]:
    """A path on the nodes: when a file is there, the experiments that wait for it end."""
    path = f"/tmp/go-{uuid4().hex}"
    yield path
    for name in NODES:
        sandbox.node(name).exec(["rm", "-rf", path, f"{path}.first"])


def let_go(sandbox: Sandbox, path: str) -> None:
    for name in NODES:
        sandbox.node(name).exec(["touch", path])


def here(results: Path, name: str) -> list[Path]:
    """Files of this name that have their place in a results folder."""
    return [path for path in results.glob(f"*/leaves/**/{name}") if ".timeeval" not in path.parts]


def spooled(sandbox: Sandbox, folder: Path) -> str:
    """Outcomes that the nodes still keep of a run."""
    script = f"ls /srv/timeeval/results/{folder.name}-*/.timeeval/outcomes 2>/dev/null || true"
    return "".join(sandbox.node(name).exec(["sh", "-c", script]).stdout for name in NODES)


def test_files_are_here_before_the_run_ends_and_never_come_twice(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, go: str
) -> None:
    # longer than what is sent in bundles: none of them may come to stand behind the one that waits
    arguments = ["--cluster", provisioned, "--results", results, "--", "1.2", "8", go]
    driver = commands.start("timeeval-run", SCRIPT, *arguments)
    wait_until(lambda: len(here(results, MODEL)) == 8 or driver.poll() is not None, 100, "the models of all")
    assert driver.poll() is None, "the run goes on"
    let_go(sandbox, go)
    output, _ = driver.communicate(timeout=100)
    assert driver.returncode == 0, output
    folder = folder_of(results)
    assert len(here(results, SCORES)) == len(here(results, MODEL)) == 8
    assert len(list((folder / "waits").rglob(SCORES))) == 1
    assert not list(folder.rglob("link"))
    assert [path.name for path in (folder / ".timeeval").iterdir()] == ["collected.jsonl"]
    assert spooled(sandbox, folder) == ""

    before = {path: path.stat().st_ino for path in here(results, MODEL)}
    with ExitStack() as stack:
        for name in NODES:
            stack.enter_context(sandbox.cut_off(name))
        done = commands.run("timeeval-results", "fetch", folder)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_ino for path in here(results, MODEL)} == before


def test_what_stays_on_the_nodes_is_fetched_later(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    arguments = ["--cluster", provisioned, "--results", results, "--collect", "none", "--", "0.1", "4"]
    done = commands.run("timeeval-run", SCRIPT, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(results)
    assert [row["outcome"] for row in rows(commands, folder)] == ["ok"] * 4
    assert here(results, SCORES) == []
    assert spooled(sandbox, folder) == ""
    assert "timeeval-results fetch" in commands.run("timeeval-results", "show", folder).stdout

    host = rows(commands, folder)[0]["host"]
    with sandbox.cut_off(host):
        done = commands.run("timeeval-results", "fetch", folder, "--collect", "scores")
    assert done.returncode == 4
    assert f"still on {host}" in done.stderr
    done = commands.run("timeeval-results", "fetch", folder, "--collect", "scores")
    assert done.returncode == 0, done.stderr
    assert (len(here(results, SCORES)), len(here(results, MODEL))) == (4, 0)
    done = commands.run("timeeval-results", "fetch", folder)
    assert (len(here(results, SCORES)), len(here(results, MODEL))) == (4, 4)
    assert "timeeval-results fetch" not in commands.run("timeeval-results", "show", folder).stdout


def test_a_link_that_is_cut_holds_up_the_files_of_its_host_only(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    arguments = ["--cluster", provisioned, "--results", results, "--", "1", "60"]
    driver = commands.start("timeeval-run", SCRIPT, *arguments)
    wait_until(lambda: len(here(results, MODEL)) >= 3 or driver.poll() is not None, 100, "three results here")
    with sandbox.cut_off("node3"):
        cut, before = time.monotonic(), len(here(results, MODEL))
        wait_until(lambda: time.monotonic() - cut >= 20, 30, "twenty seconds")
        wait_until(lambda: len(here(results, MODEL)) > before, 70, "files of the other hosts")
    output, _ = driver.communicate(timeout=150)
    assert driver.returncode == 0, output
    assert [row["outcome"] for row in rows(commands, folder_of(results))] == ["ok"] * 60
    assert len(here(results, MODEL)) == 60
    ledger = (folder_of(results) / ".timeeval" / "collected.jsonl").read_text(encoding="utf-8")
    attempts = [json.loads(line)["attempt"] for line in filter(None, ledger.splitlines())]
    assert len(attempts) == len(set(attempts)) == 60
