"""A parameter search on the practice cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

if TYPE_CHECKING:
    from conftest import Commands

    from provisioning.sandbox.cluster import Sandbox

SCRIPT = Path(__file__).parent / "experiments" / "searched.py"


def test_nodes_without_optuna_compute_what_the_driver_draws(
    sandbox: Sandbox, commands: Commands, tmp_path: Path
) -> None:
    cluster = sandbox.cluster_file
    ready = [Path(sys.executable).with_name("timeeval-provision"), "up", "--cluster", cluster]
    subprocess.run(ready, timeout=280, check=True, capture_output=True)
    done = commands.run("timeeval-run", SCRIPT, "--cluster", cluster, "--results", tmp_path, seconds=180)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.iterdir()
    shown = commands.run("timeeval-results", "show", folder, "--json")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [row["outcome"] for row in rows] == ["ok"] * 9
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna-journal.log")))
    trials = {
        t.user_attrs["uid"]: t for t in optuna.load_study(study_name="shifted-speed_6005", storage=storage).trials
    }
    assert len(trials) == 9
    for row in rows:
        trial = trials[row["hyper_params_id"]]
        assert json.loads(row["hyper_params"]) == trial.params
        assert trial.value == row["metrics"]["ROC_AUC"]
        assert trial.user_attrs["node"] == row["host"]
    assert len({row["host"] for row in rows}) > 1
