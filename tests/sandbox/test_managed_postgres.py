"""A study in a managed PostgreSQL: a real server in a container that only this machine reaches, gone with the run."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from optuna.distributions import FloatDistribution
from processes import texts

from provisioning.sandbox import images
from provisioning.sandbox.engine import Engine
from provisioning.sandbox.recipe import Recipe
from timeeval import Algorithm, DatasetManager, DefaultMetrics, InputDimensionality, TimeEval, TrainingType
from timeeval.adapters import FunctionAdapter
from timeeval.adapters.docker.engine import connect
from timeeval.errors import StudyError
from timeeval.integration.optuna import OptunaConfiguration, OptunaStudyConfiguration
from timeeval.integration.optuna.postgres import PostgresServer, remove_left
from timeeval.params import BayesianParameterSearch

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

DRIVER = """
import sys, time
from pathlib import Path
from timeeval.integration.optuna.postgres import PostgresServer
server = PostgresServer(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
server.start()
print(server._keeper.pid, flush=True)
time.sleep(600)
"""
INDEX = (
    "collection_name,dataset_name,train_path,test_path,dataset_type,datetime_index,split_at,train_type,train_is_normal,"
    "input_type,length,dimensions,contamination,num_anomalies,min_anomaly_length,median_anomaly_length,"
    "max_anomaly_length,mean,stddev,trend,stationarity,period_size\n"
    "c,d,,d.csv,real,False,,unsupervised,False,univariate,50,1,0.1,1,5,5,5,0,1,no trend,stationary,5\n"
)


@pytest.fixture(autouse=True)
def _nodes_left_well() -> None:
    """Stand in for the check of the sandbox's nodes: these tests use this machine's engine and no node."""


@pytest.fixture(scope="module")
def base() -> str:
    return images.ensure_base(Engine(), lambda _: None)


@pytest.fixture(scope="module")
def image(base: str) -> str:
    """The stand-in of the official image, which no registry gives us here."""
    recipe = Recipe("timeeval-sandbox/postgres", Path(__file__).parent / "images" / "postgres")
    return images.build(Engine(), recipe, base, lambda _: None)[0]


@pytest.fixture
def run_id() -> Iterator[str]:
    name = f"test{os.getpid()}-{time.monotonic_ns()}"
    yield name
    assert containers(name) == []


def containers(run_id: str) -> list[str]:
    return Engine().run("ps", "--all", "--quiet", "--filter", f"label=timeeval.run={run_id}").split()


def test_the_server_is_reached_with_its_password_and_from_this_machine_alone(image, run_id, tmp_path):
    folder = tmp_path / "private"
    server = PostgresServer(run_id, folder, image)
    url = server.start()
    try:
        parts = urlsplit(url.replace("+psycopg", ""))
        (found,) = Engine().inspect(containers(run_id))
        assert found["Name"] == f"/timeeval-optuna-db-{run_id}"
        assert [port["HostIp"] for ports in found["NetworkSettings"]["Ports"].values() for port in ports] == [
            "127.0.0.1"
        ]
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "password").read_text() == parts.password
        assert len(parts.password) >= 40
        assert parts.password not in str(found)
        assert not any(parts.password.encode() in command for command in texts("cmdline"))
        with psycopg.connect(parts.geturl()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(parts.geturl().replace(parts.password, "hairy_bumblebee"))
    finally:
        server.stop()
    assert not folder.exists()


def test_it_goes_with_a_driver_that_is_killed(image, run_id, tmp_path):
    with start_driver(image, run_id, tmp_path) as driver:
        driver.kill()
    until_gone(run_id)


def test_what_two_killed_processes_left_is_removed_by_the_next_run_and_nothing_else(image, run_id, tmp_path):
    other = PostgresServer(f"{run_id}-other", tmp_path / "other", image)
    other.start()
    try:
        with start_driver(image, run_id, tmp_path) as driver:
            os.kill(int(driver.stdout.readline()), signal.SIGKILL)
            driver.kill()
        assert len(containers(run_id)) == 1
        with connect() as client:
            remove_left(client)
        assert len(containers(f"{run_id}-other")) == 1
    finally:
        other.stop()


def start_driver(image: str, run_id: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, run_id, str(folder / "driver"), image]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not running(run_id) and time.monotonic() < deadline:
        time.sleep(0.2)
    return driver


def running(run_id: str) -> bool:
    return any(one["State"]["Running"] for one in Engine().inspect(containers(run_id)))


def until_gone(run_id: str) -> None:
    deadline = time.monotonic() + 60
    while containers(run_id) and time.monotonic() < deadline:
        time.sleep(0.2)


def test_a_container_that_ends_is_told_with_what_it_said_and_leaves_nothing(base, run_id, tmp_path):
    with pytest.raises(StudyError, match="ended while it started"):
        PostgresServer(run_id, tmp_path / "private", base).start()
    assert not (tmp_path / "private").exists()


def test_an_image_that_cannot_be_had_is_named(run_id, tmp_path):
    with pytest.raises(StudyError, match="no-such-image") as caught:
        PostgresServer(run_id, tmp_path / "private", "localhost:1/no-such-image:1").start()
    assert "docker pull" in str(caught.value)


def powered(data, args):
    return np.abs(data[:, 0]) ** args["power"]


def test_a_search_uses_it_and_its_studies_outlive_it(image, tmp_path):
    (tmp_path / "datasets.csv").write_text(INDEX)
    rng = np.random.default_rng(1)
    rows = [f"{i},{value:.4f},{int(20 <= i < 25)}" for i, value in enumerate(rng.normal(size=50))]
    (tmp_path / "d.csv").write_text("\n".join(["timestamp,value,is_anomaly", *rows]) + "\n")
    manager = DatasetManager(tmp_path)
    search = BayesianParameterSearch(
        OptunaStudyConfiguration(n_trials=4, metric=DefaultMetrics.ROC_AUC), {"power": FloatDistribution(0.1, 3.0)}
    )
    algorithm = Algorithm(
        "power",
        FunctionAdapter(powered),
        param_config=search,
        data_as_file=False,
        training_type=TrainingType.UNSUPERVISED,
        input_dimensionality=InputDimensionality.UNIVARIATE,
    )
    timeeval = TimeEval(
        manager,
        manager.select(),
        [algorithm],
        results_path=tmp_path / "results",
        n_jobs=1,
        disable_progress_bar=True,
        module_configs={"optuna": OptunaConfiguration("postgresql", postgres_image=image)},
    )
    timeeval.run()
    assert (timeeval.results["status"].astype(str) == "Status.OK").all()
    assert containers(timeeval.run_id) == []
    (study,) = timeeval.modules["optuna"].load_studies()
    assert study.n_trials == 4
    assert study.best_trial.value == pytest.approx(timeeval.results["ROC_AUC"].astype(float).max())
    assert (timeeval.results_path / "optuna-journal.log").is_file()
