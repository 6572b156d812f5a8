"""The real dashboard, on the loopback address, for as long as its driver lives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from processes import alive

from timeeval.errors import StudyError
from timeeval.integration.optuna import dashboard
from timeeval.integration.optuna.dashboard import Dashboard

DRIVER = """
import sys, time
from pathlib import Path
from timeeval.integration.optuna.dashboard import Dashboard
shown = Dashboard(sys.argv[1])
print(shown.start(), shown._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of optuna-dashboard, which users install by themselves."""
    folder = tmp_path_factory.mktemp("dashboard")
    uv = str(Path(sys.prefix) / "bin" / "uv")
    install = [uv if Path(uv).exists() else shutil.which("uv") or "uv", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*install, "--python", sys.executable, "--target", str(folder), "optuna-dashboard>=0.20", "bottle"], check=True
    )
    return str(folder)


def test_it_shows_the_studies_and_ends_with_a_driver_that_is_killed(installed, tmp_path):
    url = f"sqlite:///{tmp_path}/s3cret.sqlite"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="mine")
    storage.engine.dispose()
    environment = {**os.environ, "PYTHONPATH": installed}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, url], stdout=subprocess.PIPE, text=True, env=environment
    ) as driver:
        try:
            assert driver.stdout is not None
            address, pid = driver.stdout.readline().split()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}/api/studies", timeout=60) as answer:  # noqa: S310 - http
                assert [study["study_name"] for study in json.load(answer)["study_summaries"]] == ["mine"]
            assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()
        finally:
            driver.kill()
    deadline = time.monotonic() + 30
    while alive(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(pid))


def test_what_does_not_start_is_told(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", installed)
    monkeypatch.setattr(dashboard, "require", lambda: None)
    with pytest.raises(StudyError, match="dashboard did not start"):
        Dashboard(tmp_path / "no" / "such" / "folder").start()


def test_a_storage_of_this_process_alone_cannot_be_shown(monkeypatch):
    monkeypatch.setattr(dashboard, "require", lambda: None)
    with pytest.raises(StudyError, match="given as a function"):
        Dashboard(None)
