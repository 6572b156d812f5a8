"""Where a run comes from, and what is said of its hosts."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from provisioning import history
from provisioning.calibration import Calibration, place_here
from provisioning.inventory import Cluster, Node
from provisioning.node import history as node_history
from provisioning.node import tree
from timeeval.cluster.machines import known_of, measured
from timeeval.engines.dask_settings import DaskSettings
from timeeval.engines.local import LocalEngine
from timeeval.run import provenance
from timeeval.run.forecast import Forecast
from timeeval.run.hosts import Hosts
from timeeval.run.model import Cell, Execution
from timeeval.run.records import RunInfo
from timeeval.run.remarks import remarks


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "script.py").write_text("one\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_the_state_of_the_code_is_told_by_commit_and_digest(repository: Path) -> None:
    clean = provenance.state_of_code(repository)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert (clean["branch"], clean["changed"], clean["diff"], clean["untracked"]) == ("main", False, None, 0)
    (repository / "new.py").write_text("")
    (repository / "script.py").write_bytes(b"two \xff\n")
    changed = provenance.state_of_code(repository)
    assert changed is not None
    assert (changed["changed"], changed["untracked"]) == (True, 1)
    assert len(changed["diff"]) == 64
    (repository / "script.py").write_bytes(b"three\n")
    assert provenance.state_of_code(repository)["diff"] != changed["diff"]


def test_code_outside_of_any_repository_has_no_state(tmp_path: Path) -> None:
    assert provenance.state_of_code(tmp_path) is None


def test_a_secret_of_the_command_line_is_no_part_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.argv", ["script.py", "--password", "hun ter2", "--db=postgresql://me:word@host/x", "--n", "3"]
    )
    told = provenance.collect(place="local", proof=None, needs={}, local_modules={})
    assert told["command"] == ["script.py", "--password", "***", "--db=postgresql://***@host/x", "--n", "3"]


def test_threads_of_experiments_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    engine = LocalEngine(1)
    assert engine.threads["OMP_NUM_THREADS"] == "7"
    assert int(engine.threads["MKL_NUM_THREADS"]) >= 1
    assert DaskSettings(environment={"OMP_NUM_THREADS": "3", "OTHER": "x"}).threads["OMP_NUM_THREADS"] == "3"
    assert "OTHER" not in DaskSettings(environment={"OTHER": "x"}).threads


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    nodes = tuple(Node(name) for name in ("a", "b", "c"))
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=nodes,
        driver=nodes[0],
        scheduler=nodes[0],
        results=PurePosixPath("/results"),
        state=PurePosixPath("/state"),
        known_hosts=tmp_path / "known_hosts",
    )


SEEN = {"machine_id": "m", "boot_id": "b/77", "kernel": "6.1"}


def calibrate(cluster: Cluster, name: str, rate: float, **changes: str) -> None:
    rates = {"fft": rate}
    known = replace(Calibration("m", "b", "6.1", "cpu", 2, 1, 5.0, "2.0", rates, rates), **changes)
    file = place_here(cluster, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    tree.write_json(str(file), known.to_json())


def test_a_run_reads_how_fast_its_hosts_are_and_names_odd_ones(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    for name, rate in (("a", 10.0), ("b", 10.0), ("c", 5.0)):
        calibrate(cluster, name, rate)
    with caplog.at_level(logging.WARNING):
        found = measured(cluster, cluster.nodes, dict.fromkeys("abc", SEEN))
    assert {host: known["speed"] for host, known in found.items()} == {"a": 1.0, "b": 1.0, "c": 0.5}
    assert found["c"]["together"] == {"fft": 5.0}
    assert "c computes at 0.50 of the usual speed" in caplog.text


def test_a_measurement_of_another_machine_does_not_count(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    calibrate(cluster, "a", 10.0)
    calibrate(cluster, "b", 5.0, boot_id="earlier")
    with caplog.at_level(logging.WARNING):
        found = measured(cluster, cluster.nodes, dict.fromkeys("abc", SEEN))
    assert list(found) == ["a"]
    assert "how fast b, c computes is not known" in caplog.text


def test_hosts_that_nobody_measured_are_no_matter(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    assert measured(cluster, cluster.nodes, dict.fromkeys("abc", SEEN)) == {}
    assert caplog.text == ""


def test_what_the_last_proof_knew_of_a_host_is_told(cluster: Cluster) -> None:
    entry = history.Entry(1.0, "verified", facts={"processor": "Xeon", "package numpy": "2.0", "memory": "8 GiB"})
    file = history.place(cluster, cluster.nodes[0])
    file.parent.mkdir(parents=True)
    node_history.append(str(file), entry.to_json())
    found = known_of(cluster, cluster.nodes[:2], {"b": {"speed": 1.0}}, {"OMP_NUM_THREADS": "1"})
    assert found == {
        "a": {
            "facts": {"processor": "Xeon", "memory": "8 GiB"},
            "threads": {"OMP_NUM_THREADS": "1"},
            "calibration": None,
        },
        "b": {"facts": {}, "threads": {"OMP_NUM_THREADS": "1"}, "calibration": {"speed": 1.0}},
    }


def test_the_table_ends_with_hosts_that_differ(tmp_path: Path) -> None:
    speeds = {"a": {"speed": 1.0}, "b": {"speed": 1.05}, "c": {"speed": 0.8}, "d": None}
    info = {"hosts": {name: {"calibration": known} for name, known in speeds.items()}}
    (line,) = remarks(tmp_path, [], [RunInfo("r1", 1, "", 0.0, info=info)])
    assert "c 0.80;" in line
    assert "b" not in line.partition(":")[2].partition(";")[0]
    assert remarks(tmp_path, [], []) == []


def test_the_table_ends_with_images_that_each_host_built_itself(tmp_path: Path) -> None:
    how = {"lab/one:1": "equal by context, not by content", "lab/two:1": "equal by content"}
    (line,) = remarks(tmp_path, [], [RunInfo("r1", 1, "", 0.0, info={"proof": {"image_equality": how}})])
    assert line == "images that each host built itself, equal by context, not by content: lab/one:1"
    assert remarks(tmp_path, [], [RunInfo("r1", 1, "", 0.0, info={"proof": None})]) == []


def test_a_host_that_was_measured_to_be_fast_gets_work_first() -> None:
    cells = [Execution(f"k{n}", Cell("alg", "c", f"d{n}", "p", 1)) for n in range(1)]
    forecast = Forecast()
    forecast.told("slow", 0.5)
    forecast.told("slow", 4.0)  # once is enough: a host that comes back is the same
    assert forecast.slowness("slow") == pytest.approx(2.0)
    assert forecast.slowness("other") == 1.0
    forecast.learn(cells[0], "slow", 1.0)
    assert forecast.slowness("slow") == pytest.approx(2.0)
    hosts = Hosts(forecast)
    hosts.up("slow", 1)
    hosts.up("fast", 1, 2.0)
    hosts.up("usual", 1)
    order = []
    while (host := hosts.best(frozenset())) is not None:
        order.append(host.name)
        hosts.taken(host)
    assert order == ["fast", "usual", "slow"]
