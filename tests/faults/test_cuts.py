"""Networks that are cut and nodes that freeze in a run: shorter than the lease loses nothing, longer is redone."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from practice import EXPERIMENTS, NODES, Commands, finished_in, folder_of, left_on, left_on_nodes, rows, wait_until

from timeeval.run.journal import FILE_NAME, Journal

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

SCRIPT = EXPERIMENTS / "counted.py"


@pytest.fixture
def marks(sandbox: Sandbox) -> Iterator[str]:
    """Return a file of which each node gets its own, with a line for each execution."""
    path = f"/var/tmp/timeeval-marks-{time.time_ns()}"
    yield path
    for name in NODES:
        sandbox.node(name).exec(["rm", "-f", path, f"{path}-other"])


def executions(sandbox: Sandbox, marks: str) -> int:
    script = f"cat {marks} 2>/dev/null | wc -l"
    return sum(int(sandbox.node(name).exec(["sh", "-c", script]).stdout) for name in NODES)


class Driver:
    """A run of counted experiments, and what it says."""

    def __init__(self, commands: Commands, cluster: Path, results: Path, marks: str, **how: object) -> None:
        self.results = results
        options = ["--cluster", cluster, "--results", results, "--lease", how["lease"]]
        arguments = [marks, how["seconds"], how["experiments"]]
        self.log = results.with_name(f"{results.name}.log")
        argv = [SCRIPT, *map(str, options), "--", *map(str, arguments)]
        self.process = commands.start("timeeval-run", *argv, output=self.log)

    def wait_for(self, count: int) -> None:
        wait_until(
            lambda: finished_in(self.results) >= count or self.process.poll() is not None, 100, f"{count} outcomes"
        )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_to_say(self, words: str, times: int = 1) -> None:
        """Wait for what is to be said so many times."""
        wait_until(lambda: self.output.count(words) >= times, 60, f"{times} times {words!r} in {self.log}")

    def end(self, seconds: float = 150) -> str:
        self.process.wait(timeout=seconds)
        assert self.process.returncode == 0, self.output
        return self.output


def test_drivers_network_is_cut_and_back_within_the_lease(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=120, seconds=4, experiments=9)
    driver.wait_for(3)
    with sandbox.driver_apart():
        driver.wait_to_say(": connection lost (", 3)
    output = driver.end()

    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 9
    assert [row["attempts"] for row in found] == [1] * 9
    assert executions(sandbox, marks) == 9, "nothing runs twice"
    assert (
        len(re.findall(r"node\d: connection lost \(.*\); trying again, its experiments go on until \d\d:", output)) == 3
    )
    assert output.count("connected again, nothing was lost") == 3
    assert left_on_nodes(sandbox) == {}


def test_node_is_cut_off_for_longer_than_the_lease(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=14, seconds=5, experiments=10)
    driver.wait_for(3)
    with sandbox.cut_off("node3"):
        # One more of its experiments ends meanwhile; the node keeps that outcome although nobody hears of it.
        kept = f"ls {outcomes_of(sandbox, results)}/*.json 2>/dev/null | wc -l"
        before = int(sandbox.node("node3").exec(["sh", "-c", kept]).stdout)
        wait_until(lambda: left_on(sandbox, "node3") == "", 14 + 30, "a node that cleaned itself up")
        after = int(sandbox.node("node3").exec(["sh", "-c", kept]).stdout)
    output = driver.end()

    assert after > before
    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 10
    assert max(row["attempts"] for row in found) == 2, "what was lost was done again"
    assert "node3: connection lost" in output
    assert left_on_nodes(sandbox) == {}


def outcomes_of(sandbox: Sandbox, results: Path) -> str:
    from timeeval import cluster as clusters

    there = clusters.remote_results(clusters.open_cluster(sandbox.cluster_file), folder_of(results))
    return f"{there}/.timeeval/outcomes"


def test_node_freezes_and_is_back_within_the_lease(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=120, seconds=4, experiments=9)
    driver.wait_for(3)
    with sandbox.frozen("node3"):
        driver.wait_to_say("node3: connection lost (")
    output = driver.end()

    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 9
    assert executions(sandbox, marks) == 9, "nothing runs twice"
    # its last result may be here before there is a new connection, but it was not given up
    assert "could not be reached" not in output
    assert left_on_nodes(sandbox) == {}


def test_schedulers_node_freezes_and_another_takes_its_place_until_it_is_back(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=40, seconds=4, experiments=12)
    driver.wait_for(3)
    anew = "ls /srv/timeeval/state/runs/*/scheduler-2.log 2>/dev/null; true"
    with sandbox.frozen("node1"):
        there = [sandbox.node(name) for name in NODES if name != "node1"]
        wait_until(lambda: any(node.exec(["sh", "-c", anew]).stdout for node in there), 40, "another scheduler")
    output = driver.end()

    found = rows(commands, folder_of(results))
    assert [row["outcome"] for row in found] == ["ok"] * 12
    assert executions(sandbox, marks) == 12, "nothing runs twice"
    assert "Dask is started anew: node1, where its scheduler is, is not reached" in output
    with Journal.read(folder_of(results) / FILE_NAME) as journal:
        assert journal.superseded() == []
        with journal.still() as ask:
            others = ask("SELECT outcome, error FROM attempt WHERE outcome != 'ok'").fetchall()
    # What was on its way when Dask was started anew is due again, and nobody is blamed for it.
    assert all(outcome == "cancelled" and error.startswith("Dask was started anew") for outcome, error in others), (
        others
    )
    assert left_on_nodes(sandbox) == {}


def test_guard_and_sweeper_are_both_killed_and_the_next_start_sweeps(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=20, seconds=300, experiments=3)
    node = sandbox.node("node2")
    wait_until(lambda: executions(sandbox, marks) == 3, 100, "three running experiments")
    # The driver goes first: it would look after its node.
    commands.kill(driver.process)
    guards = "grep -l . /srv/timeeval/state/runs/*/guard.json | head -n 1"
    [guard] = re.findall(r'"pid": (\d+)', node.exec(["sh", "-c", f"cat $({guards})"]).stdout)
    # the sweeper is the guard's fork, so it has the same command line; its other children are workers
    [sweeper] = node.exec(["sh", "-c", f"pgrep -P {guard} -f -- '-X utf8 -c'"]).stdout.split()
    node.exec(["kill", "-9", sweeper, guard])
    assert left_on(sandbox, "node2") != ""
    wait_until(lambda: left_on(sandbox, "node1") + left_on(sandbox, "node3") == "", 30, "clean other nodes")

    again = Driver(commands, provisioned, results.with_name("again"), marks, lease=20, seconds=0, experiments=3)
    output = again.end()

    assert re.search(r"node2: what the dead run \S+ had left there was removed", output)
    assert left_on_nodes(sandbox) == {}


def test_driver_is_killed_and_nothing_is_left_after_half_a_minute(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=300, seconds=600, experiments=3)
    wait_until(lambda: executions(sandbox, marks) == 3, 100, "three running experiments")
    commands.kill(driver.process)

    wait_until(lambda: left_on_nodes(sandbox) == {}, 30, "clean nodes")


def test_two_drivers_share_the_nodes_and_the_death_of_one_leaves_the_other_alone(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    other = results.with_name("other")
    other.mkdir()
    goes_on = Driver(commands, provisioned, results, marks, lease=120, seconds=3, experiments=12)
    dies = Driver(commands, provisioned, other, f"{marks}-other", lease=120, seconds=600, experiments=3)
    goes_on.wait_for(1)
    wait_until(lambda: executions(sandbox, f"{marks}-other") == 3, 100, "three running experiments of the other")
    commands.kill(dies.process)
    goes_on.end()

    found = rows(commands, folder_of(results))
    assert [(row["outcome"], row["attempts"]) for row in found] == [("ok", 1)] * 12
    assert executions(sandbox, marks) == 12, "nothing runs twice"
    wait_until(lambda: left_on_nodes(sandbox) == {}, 30, "clean nodes")


def test_drivers_network_is_gone_and_nothing_is_left_after_the_lease(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    driver = Driver(commands, provisioned, results, marks, lease=12, seconds=600, experiments=3)
    wait_until(lambda: executions(sandbox, marks) == 3, 100, "three running experiments")
    with sandbox.driver_apart():
        commands.kill(driver.process)
        assert set(left_on_nodes(sandbox)) == set(NODES), "it was a cut, as far as the nodes know"
        wait_until(lambda: left_on_nodes(sandbox) == {}, 12 + 30, "clean nodes")


def test_detached_run_goes_on_and_is_stopped_from_elsewhere(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path, marks: str
) -> None:
    options = ["--cluster", provisioned, "--results", results, "--detach"]
    started = commands.run("timeeval-run", SCRIPT, *options, "--", marks, "1", "60")
    assert started.returncode == 0, started.stderr
    assert "timeeval-results watch" in started.stdout
    folder = folder_of(results)
    watching = subprocess.Popen(
        commands.argv("timeeval-results", "watch", folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("ok  counted  NAB-realTraffic/speed_6005")

    stopped = commands.run("timeeval-results", "stop", folder)

    assert stopped.returncode == 0, stopped.stderr
    assert watching.communicate(timeout=30)[0].splitlines()[-1].startswith("ended with exit code 143: ")
    assert watching.returncode == 143
    assert (folder / "results.csv").is_file()
    assert left_on_nodes(sandbox) == {}
