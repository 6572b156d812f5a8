"""Hosts that change in the middle of a run: nothing is computed there any more, and the others do the rest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from timeeval.run.journal import FILE_NAME, Journal
from timeeval.run.model import Outcome

if TYPE_CHECKING:
    from conftest import Commands

    from provisioning.sandbox.cluster import Sandbox
    from provisioning.sandbox.node import SandboxNode

EXPERIMENTS = Path(__file__).parent / "experiments"
DATASET = "/srv/timeeval/data/nab/NAB-realTraffic/speed_6005.test.csv"
IMAGE, OTHER = "timeeval-demo/subsequence-stats:1", "timeeval-demo/ar-forecast:1"

# Changes the last label, or puts it back, in place; size and time of change stay what they were.
SWITCH_LABEL = """
import os, sys
status = os.stat(sys.argv[1])
with open(sys.argv[1], "r+b") as file:
    file.seek(-2, 2)
    label = file.read(1)
    file.seek(-2, 2)
    file.write(b"0" if label == b"1" else b"1")
os.utime(sys.argv[1], ns=(status.st_atime_ns, status.st_mtime_ns))
"""


def switch_label(node: SandboxNode) -> None:
    node.exec(["python3", "-c", SWITCH_LABEL, DATASET])


@pytest.fixture
def unharmed(sandbox: Sandbox) -> Iterator[None]:
    """Put back what the test changes on node2 and node3."""
    image = sandbox.node("node3").exec(["docker", "image", "inspect", "--format", "{{.Id}}", IMAGE]).stdout.strip()
    content = sandbox.node("node2").exec(["sha256sum", DATASET]).stdout
    yield
    sandbox.node("node3").exec(["docker", "tag", image, IMAGE])
    if sandbox.node("node2").exec(["sha256sum", DATASET]).stdout != content:
        switch_label(sandbox.node("node2"))


def finished_by_host(results: Path) -> Counter[str]:
    journals = list(results.glob(f"*/{FILE_NAME}"))
    if not journals:
        return Counter()
    with Journal.read(journals[0]) as journal:
        return Counter(row.host for row in journal.rows() if row.outcome is Outcome.OK and row.host)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.25)


@pytest.mark.usefixtures("unharmed")
def test_a_host_that_changes_in_a_run_computes_nothing_more_and_the_others_go_on(
    provisioned: Path, commands: Commands, sandbox: Sandbox, tmp_path: Path
) -> None:
    script = EXPERIMENTS / "containers.py"
    driver = commands.start("timeeval-run", script, "--cluster", provisioned, "--results", tmp_path, "--", "18")
    wait_until(lambda: len(finished_by_host(tmp_path)) == 3 or driver.poll() is not None, 100, "a result of each host")
    switch_label(sandbox.node("node2"))
    sandbox.node("node3").exec(["docker", "tag", OTHER, IMAGE])
    at_harm = finished_by_host(tmp_path)
    output, _ = driver.communicate(timeout=150)
    assert driver.returncode == 0, output

    up = f"`timeeval-provision up --cluster {provisioned} --limit {{}}` mends and verifies it"
    data = f"changed since verified: the dataset file {DATASET} on node2; {up.format('node2')}"
    image = f"changed since verified: the image {IMAGE} on node3; {up.format('node3')}"
    assert f"node2 is not used any more: {data}" in output
    assert f"node3 is not used any more: {image}" in output
    found = finished_by_host(tmp_path)
    assert found.total() == 18
    # what was running when the host changed had been checked before, and an image's name is asked for every 2 s
    assert found["node2"] <= at_harm["node2"] + 2
    assert found["node3"] <= at_harm["node3"] + 4
    table = (next(tmp_path.iterdir()) / "results.csv").read_text(encoding="utf-8")
    assert table.count("Status.OK") == 18


def test_a_node_that_is_started_anew_in_a_run_is_not_used_before_it_is_verified(
    provisioned: Path, commands: Commands, sandbox: Sandbox, tmp_path: Path
) -> None:
    script = EXPERIMENTS / "slow.py"
    driver = commands.start(
        "timeeval-run", script, "--cluster", provisioned, "--results", tmp_path, "--lease", "10", "--", "1.0", "15"
    )
    wait_until(lambda: len(finished_by_host(tmp_path)) == 3 or driver.poll() is not None, 100, "a result of each host")
    with sandbox.off("node3"):
        pass
    sandbox.wait()
    at_start = finished_by_host(tmp_path)
    output, _ = driver.communicate(timeout=150)
    assert driver.returncode == 0, output
    found = finished_by_host(tmp_path)
    assert found.total() == 15
    assert found["node3"] <= at_start["node3"] + 1

    again = commands.run("timeeval-run", script, "--cluster", provisioned, "--results", tmp_path, "--", "0.1", "1")
    assert again.returncode == 16, again.stdout + again.stderr
    assert "node3: it was started anew after it was verified" in again.stderr
    assert "\nRun `timeeval-provision up" in again.stderr
