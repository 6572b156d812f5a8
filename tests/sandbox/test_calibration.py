"""How fast real nodes compute: measured once by `up`, kept on both sides, and told with a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from practice import EXPERIMENTS, folder_of

from provisioning.calibration import load
from timeeval.cluster import open_cluster

if TYPE_CHECKING:
    from practice import Commands

    from provisioning.sandbox.cluster import Sandbox


def test_speed_is_measured_once_kept_and_told_with_a_run(
    provisioned: Path, commands: Commands, sandbox: Sandbox, results: Path
) -> None:
    cluster = open_cluster(provisioned)
    first = load(cluster, "node1")
    assert first is not None, "`up` has measured it"
    there = sandbox.node("node1").exec(["cat", "/srv/timeeval/state/calibration/node1.json"]).stdout
    assert json.loads(there)["single"] == first.single
    done = commands.run("timeeval-provision", "up", "--cluster", provisioned, "--limit", "node1", seconds=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load(cluster, "node1") == first, "nothing changed there since"

    arguments = ["--cluster", provisioned, "--limit", "node1", "--results", results, "--", "0.1", "1"]
    done = commands.run("timeeval-run", EXPERIMENTS / "models.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((folder_of(results) / "run.json").read_text(encoding="utf-8"))["runs"]
    host = run["hosts"]["node1"]
    assert host["calibration"]["speed"] == 1.0
    assert host["calibration"]["cpu"] == host["facts"]["processor"]
    assert host["threads"]["OMP_NUM_THREADS"] == "1"
    assert {"kernel", "memory", "cores", "docker"} <= host["facts"].keys()
    assert run["git"]["commit"]
    assert run["proof"]["nodes"]["node1"]["receipt"]
