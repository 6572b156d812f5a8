"""What breaks on one node in a run: its Docker Engine, its disk; and experiments that do what they must not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from practice import EXPERIMENTS, NODES, Commands, finished_in, folder_of, left_on_nodes, rows, wait_until

from provisioning.sandbox.layout import FULL

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox


def test_experiments_flood_stderr_and_ignore_sigterm(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    done = commands.run(
        "timeeval-run", EXPERIMENTS / "counted.py", "--cluster", provisioned, "--results", results,
        "--", "/dev/null", "0", "1", "floods", "stubborn", seconds=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["algorithm"]: row["outcome"] for row in rows(commands, folder_of(results))} == {
        "counted": "ok",
        "floods": "ok",
        "stubborn": "timeout",
    }
    assert left_on_nodes(sandbox) == {}


def test_docker_engine_of_one_node_ends(provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path) -> None:
    driver = commands.start(
        "timeeval-run", EXPERIMENTS / "containers.py", "--cluster", provisioned, "--results", results, "--", "18"
    )
    wait_until(lambda: finished_in(results) >= 3 or driver.poll() is not None, 100, "three outcomes")
    with sandbox.engine_down("node3"):
        output, _ = driver.communicate(timeout=150)
        assert driver.returncode == 0, output
    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 18, output
    # What could not be removed without its engine is removed when a run starts there again.
    again = commands.run(
        "timeeval-run", EXPERIMENTS / "slow.py", "--cluster", provisioned, "--results", results.with_name("again"),
        "--", "0", "3", seconds=150,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert left_on_nodes(sandbox) == {}


SMALL = f"{FULL}/it's a small $HOME; `id`"


@pytest.fixture
def small_results(provisioned: Path, cluster_variant: Callable[..., Path], sandbox: Sandbox) -> Iterator[Path]:
    """The practice cluster with results on a file system that is small enough to be filled."""
    # its name is made for shells, none of which may read it
    yield cluster_variant({'results = "/srv/timeeval/results"': f'results = "{SMALL}"'})
    for name in NODES:
        sandbox.node(name).exec(["rm", "-rf", SMALL])


def test_disk_of_one_node_is_filled(small_results: Path, commands: Commands, sandbox: Sandbox, results: Path) -> None:
    driver = commands.start(
        "timeeval-run", EXPERIMENTS / "slow.py", "--cluster", small_results, "--results", results, "--", "1.0", "24"
    )
    wait_until(lambda: finished_in(results) >= 3 or driver.poll() is not None, 100, "three outcomes")
    with sandbox.full_disk("node3"):
        time.sleep(5)
        output, _ = driver.communicate(timeout=150)
        assert driver.returncode in (0, 4), output
        found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 24, output
    assert left_on_nodes(sandbox) == {}
