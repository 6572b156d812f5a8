"""Runs on the practice cluster that meet the faults a run must survive: the right answer, in a bounded time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from practice import EXPERIMENTS, IMAGES, NODES, Commands, finished_in, folder_of, left_on_nodes, rows, wait_until

from timeeval.run.journal import FILE_NAME, Journal

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox


@pytest.fixture
def with_misbehaviour(provisioned: Path, cluster_variant: Callable[..., Path], commands: Commands) -> Path:
    """The practice cluster with the image that fails on purpose."""
    context = os.path.relpath(IMAGES / "misbehave", provisioned.parent)
    image = f'\n[[images]]\nname = "timeeval-test/misbehave:1"\ncontext = "{context}"\n'
    path = cluster_variant(append=image)
    for command in ("push-images", "verify"):
        done = commands.run("timeeval-provision", command, "--cluster", path, seconds=200)
        assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_algorithms_that_fail_are_rows_and_nothing_else(
    with_misbehaviour: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    script = EXPERIMENTS / "faulty.py"
    done = commands.run(
        "timeeval-run", script, "--cluster", with_misbehaviour, "--results", results, "--fail-on-error", seconds=180
    )
    assert done.returncode == 64, done.stdout + done.stderr
    found = {row["algorithm"]: row for row in rows(commands, folder_of(results))}
    assert {name: row["outcome"] for name, row in found.items()} == {
        "fine": "ok",
        "raises": "error",
        "fine-container": "ok",
        "exits": "error",
        "eats": "oom",
        "sleeps": "timeout",
    }
    assert "no anomalies on Sundays" in found["raises"]["error"]
    assert "exit" in found["exits"]["error"]
    assert "64" in found["eats"]["error"] or "memory" in found["eats"]["error"]
    assert all(row["host"] in NODES for row in found.values())
    # Containers of some milliseconds may have ended before anybody could look at them.
    assert found["sleeps"]["cpu_seconds"] > 0
    assert 0 < found["eats"]["peak_memory"] <= 64 * 1024**2
    table = (folder_of(results) / "results.csv").read_text(encoding="utf-8")
    for status in ("Status.OK", "Status.ERROR", "Status.OOM", "Status.TIMEOUT"):
        assert status in table
    assert left_on_nodes(sandbox) == {}


def test_killed_driver_loses_nothing_and_resume_runs_the_rest(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    script = EXPERIMENTS / "slow.py"
    driver = commands.start("timeeval-run", script, "--cluster", provisioned, "--results", results, "--", "1.0", "12")
    wait_until(lambda: finished_in(results) >= 4 or driver.poll() is not None, 100, "four finished experiments")
    commands.kill(driver)
    folder = folder_of(results)
    before = finished_in(results)
    assert before >= 4
    wait_until(
        lambda: left_on_nodes(sandbox) == {}, 30, f"clean nodes after the driver's death ({left_on_nodes(sandbox)})"
    )

    done = commands.run(
        "timeeval-run", script, "--cluster", provisioned, "--resume", folder, "--", "1.0", "12", seconds=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(commands, folder)
    assert [row["outcome"] for row in found] == ["ok"] * 12
    with Journal.read(folder / FILE_NAME) as journal:
        numbers = [row.number for row in journal.rows()]
    assert numbers.count(1) >= before, "what was finished is not computed again"
    assert len((folder / "results.csv").read_text(encoding="utf-8").splitlines()) == 13
    assert left_on_nodes(sandbox) == {}


def test_interrupt_ends_the_run_resumably_and_leaves_nothing(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    driver = commands.start(
        "timeeval-run", EXPERIMENTS / "slow.py", "--cluster", provisioned, "--results", results, "--", "2.0", "60"
    )
    wait_until(lambda: finished_in(results) >= 2 or driver.poll() is not None, 100, "two finished experiments")
    assert commands.interrupt(driver) == 130
    assert left_on_nodes(sandbox) == {}
    folder = folder_of(results)
    finished = [row for row in rows(commands, folder) if row["outcome"] == "ok"]
    assert len(finished) >= 2
    assert (folder / "results.csv").is_file()


def test_node_that_dies_in_a_run_is_replaced_by_the_others(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    driver = commands.start(
        "timeeval-run",
        EXPERIMENTS / "slow.py",
        "--cluster",
        provisioned,
        "--results",
        results,
        "--lease",
        "10",
        "--",
        "1.0",
        "18",
    )
    wait_until(lambda: finished_in(results) >= 3 or driver.poll() is not None, 100, "three finished experiments")
    with sandbox.off("node3"):
        wait_until(lambda: finished_in(results) == 18 or driver.poll() is not None, 150, "18 outcomes without node3")
    # on again, it has the files of what had ended there
    output, _ = driver.communicate(timeout=100)
    assert driver.returncode in (0, 4, 8), output
    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 18, output
    with Journal.read(folder_of(results) / FILE_NAME) as journal:
        assert {row.host for row in journal.rows()} <= set(NODES)


def test_unverified_nodes_are_refused_with_the_command_that_mends_it(
    provisioned: Path, cluster_variant: Callable[..., Path], commands: Commands, results: Path
) -> None:
    unknown = cluster_variant({"/srv/timeeval/data/nab": "/srv/timeeval/data/other"})
    script = results.parent / "script.py"
    text = (EXPERIMENTS / "slow.py").read_text(encoding="utf-8")
    script.write_text(text.replace("/srv/timeeval/data/nab", "/srv/timeeval/data/other"), encoding="utf-8")
    done = commands.run("timeeval-run", script, "--cluster", unknown, "--results", results, "--", "0.1", "1")
    assert done.returncode == 16, done.stdout + done.stderr
    assert "node[1-3]" in done.stderr
    assert "timeeval-provision" in done.stderr
