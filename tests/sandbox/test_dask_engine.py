"""The Dask engine on real nodes over SSH: work everywhere, nothing left."""

import asyncio
import json
import subprocess
import sys
import time

import pytest
from engine_run import (
    Run,
    busy,
    is_busy,
    until,
)

from timeeval import cluster as clusters
from timeeval.errors import TimeEvalError
from timeeval.remote_configuration import RemoteConfiguration
from timeeval.run.model import HostUp

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_every_node_computes_and_nothing_is_left(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            up = {event.host for event in run.events if isinstance(event, HostUp)}
            assert up == {"node1", "node2", "node3"}
            for name in up:
                await run.ok(f"on-{name}", name)
            await run.submit("long", "node3", busy)
            await until(lambda: is_busy(sandbox, "node3"))

    asyncio.run(scenario())


def test_no_key_is_visible_on_any_node_whatever_its_login_shell(sandbox, environment):
    script = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -ac 'PRIVATE KE[Y]'; true"
    files = "grep -rIl 'PRIVATE KE[Y]' /srv/timeeval/state /tmp /var/tmp /dev/shm 2>/dev/null; true"

    async def scenario():
        async with Run(environment):
            for name in ("node1", "node2", "node3"):
                node = sandbox.node(name)
                assert (await asyncio.to_thread(node.exec, ["sh", "-c", script])).stdout.strip() == "0"
                assert (await asyncio.to_thread(node.exec, ["sh", "-c", files])).stdout.strip() == ""

    with sandbox.login_shell("node2", "dash"), sandbox.login_shell("node3", "tcsh"):  # node1 has bash
        asyncio.run(scenario())


def test_all_sockets_are_bound_to_the_clusters_address(sandbox, environment):
    async def scenario():
        async with Run(environment):
            for name in ("node1", "node2", "node3"):
                node = sandbox.node(name)
                text = (await asyncio.to_thread(node.exec, ["ss", "-Hltnp"])).stdout
                addresses = {line.split()[3].rsplit(":", 1)[0] for line in text.splitlines() if '"python' in line}
                assert addresses == {node.address, "127.0.0.1"}

    asyncio.run(scenario())


@pytest.mark.parametrize(("level", "lines"), [("INFO", True), ("CRITICAL", False)])
def test_the_start_works_at_every_log_level_and_the_log_is_collected(sandbox, environment, tmp_path, level, lines):
    remote = RemoteConfiguration(dask_logging_file_level=level, dask_logging_console_level=level)
    remote.update_logging_path(tmp_path)

    async def scenario():
        async with Run(environment, limit=["node1"], remote=remote, results=tmp_path) as run:
            await run.ok("a", "node1")

    asyncio.run(scenario())
    cluster = clusters.open_cluster(environment)
    depot = clusters.make_depot(cluster, cluster.select(["node1"], ()), tmp_path, remote)
    depot.logs()
    depot.close()
    there = clusters.remote_results(clusters.open_cluster(environment), tmp_path)
    sandbox.node("node1").exec(["rm", "-r", str(there)])

    log = tmp_path / "dask-node1.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    assert ("Scheduler at" in text) is lines
    assert ("Start worker at" in text) is lines


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_a_login_shell_with_a_banner_does_not_matter(sandbox, environment, shell):
    async def scenario():
        async with Run(environment, limit=["node2"]) as run:
            await run.ok("a", "node2")

    with sandbox.login_shell("node2", shell, "Welcome to the lab"):
        asyncio.run(scenario())


def test_a_node_down_at_the_start_is_left_out_and_named(sandbox, environment):
    async def scenario():
        async with Run(environment) as run:
            assert set(run.engine.failures) == {"node3"}
            assert str(run.engine.failures["node3"]).startswith("node3: ")
            await run.ok("a", "node1")

    with sandbox.off("node3"):
        asyncio.run(scenario())


def test_too_few_nodes_are_an_error_that_names_them(sandbox, environment):
    async def scenario():
        async with Run(environment, min_workers=3):
            pass

    with sandbox.off("node3"), pytest.raises(TimeEvalError, match=r"2 of 3 hosts came up(.|\n)*node3"):
        asyncio.run(scenario())


def selfcheck(cluster_file, nodes):
    request = json.dumps({"cluster": str(cluster_file), "nodes": nodes})
    done = subprocess.run(
        [sys.executable, "-m", "timeeval.engines.selfcheck"],
        input=request, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, {answer["node"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def test_the_selfcheck_answers_for_each_node(sandbox, environment):
    with sandbox.off("node2"):
        status, answers = selfcheck(environment, ["node1", "node2", "node3"])

    assert status == 4
    assert {name: answer["ok"] for name, answer in answers.items()} == {"node1": True, "node2": False, "node3": True}
    assert answers["node2"]["error"]
    assert answers["node1"]["worker"]["distributed"]


def test_a_wrong_interpreter_is_named_with_its_remedy(sandbox, environment, cluster_variant):
    file = cluster_variant({'prefix = "/srv/timeeval/envs/demo"': 'prefix = "/srv/timeeval/envs/nowhere"'})
    status, answers = selfcheck(file, ["node1"])

    assert status == 4
    assert "/srv/timeeval/envs/nowhere/bin/python" in answers["node1"]["error"]
    assert "No such file" in answers["node1"]["error"]
    assert "create-envs" in answers["node1"]["error"] + answers["node1"]["remedy"]


def test_the_gate_refuses_unverified_nodes_with_one_command(sandbox, environment, cluster_variant):
    file = cluster_variant({'name = "sandbox"': f'name = "never-verified-{time.time_ns()}"'})
    cluster = clusters.open_cluster(file)
    needs = {"schema": "timeeval.needs/1", "datasets": [], "images": [], "modules": []}

    with pytest.raises(TimeEvalError, match="never verified") as caught:
        clusters.gate(cluster, cluster.nodes, needs)

    assert caught.value.__cause__.exit_code == 16
    assert f"timeeval-provision up --cluster {file} --limit 'node[1-3]'" in str(caught.value)
