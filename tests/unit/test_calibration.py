"""How fast hosts compute: measured once, kept for the same machine, compared by the parts that all have."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from lone import lone

from provisioning import calibration
from provisioning.calibration import Calibration, load, notable, place_here, speeds
from provisioning.errors import NodeError
from provisioning.inventory import Cluster, Environment
from provisioning.launch import open_session
from provisioning.node import workload
from provisioning.plan import Job
from provisioning.report import NodeReport, Report
from provisioning.transfer.star import Star

PARTS = {"fft", "blas", "sort", "python", "memory"}


def known(rate: float = 1.0, **changes: Any) -> Calibration:
    rates = dict.fromkeys(PARTS, rate)
    return replace(Calibration("m", "b", "6.1", "cpu", 2, 1, 0.0, "2.0", rates, rates), **changes)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return lone(tmp_path, slots=2, environment=Environment(prefix=PurePosixPath(sys.prefix), python="3.11"))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PART_SECONDS", 0.02)


def calibrate(cluster: Cluster, *, anew: bool = False) -> Report:
    job = Job(cluster, cluster.nodes, (), Star())
    report = Report(tuple(NodeReport(node.name) for node in cluster.nodes))
    with open_session(cluster, cluster.driver) as session:
        return calibration.calibrated(job, {"alpha": session}, report, anew=anew)


def test_it_is_measured_once_and_anew_on_demand(cluster: Cluster) -> None:
    assert load(cluster, "alpha") is None
    assert calibrate(cluster).nodes[0].findings == ()
    first = load(cluster, "alpha")
    assert first is not None
    assert first.single.keys() == first.together.keys() == PARTS
    assert first.slots == 2
    assert first.cpu
    place_here(cluster, "alpha").unlink()
    calibrate(cluster)
    assert load(cluster, "alpha") == first  # the node knew it
    calibrate(cluster, anew=True)
    again = load(cluster, "alpha")
    assert again is not None
    assert again.time > first.time


def test_another_number_of_slots_is_another_measurement(cluster: Cluster) -> None:
    calibrate(cluster)
    node = replace(cluster.nodes[0], slots=1)
    calibrate(replace(cluster, nodes=(node,), driver=node))
    again = load(cluster, "alpha")
    assert again is not None
    assert again.slots == 1
    assert again.single == again.together


def test_an_environment_that_cannot_do_it_is_a_warning(cluster: Cluster, tmp_path: Path) -> None:
    python = tmp_path / "prefix" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no numpy here >&2\nexit 1\n")
    python.chmod(0o755)
    environment = Environment(prefix=PurePosixPath(tmp_path / "prefix"), python="3.11")
    (line,) = calibrate(replace(cluster, environment=environment)).nodes
    (finding,) = line.findings
    assert finding.severity == "warning"
    assert "speed could not be measured" in finding.message
    assert "no numpy here" in finding.message
    assert line.error is None


def test_nodes_that_do_not_stand_are_not_measured(cluster: Cluster) -> None:
    job = Job(cluster, cluster.nodes, (), Star())
    report = Report((NodeReport("alpha", error=NodeError("broken", host="alpha")),))
    assert calibration.calibrated(job, {}, report, anew=True) == report


def test_speed_is_relative_to_the_usual_host() -> None:
    found = speeds({"a": known(1.0), "b": known(1.0), "slow": known(0.5), "old": known(9.0, workload=0)})
    assert found == pytest.approx({"a": 1.0, "b": 1.0, "slow": 0.5})
    assert notable(found) == pytest.approx({"slow": 0.5})
    assert speeds({}) == {}


def test_ten_percent_is_not_worth_a_word() -> None:
    assert notable({"a": 1.0, "b": 1.1, "c": 0.92}) == {}
    assert set(notable({"a": 1.0, "b": 1.12, "c": 0.89})) == {"b", "c"}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "timeeval.calibration/0"},
        {"single": {"fft": 0.0}},
        {"single": {"fft": float("nan")}, "together": {"fft": 1.0}},
        {"together": {"fft": 1.0}},
        {"together": "fast"},
        {"extra": 1},
    ],
)
def test_what_a_hostile_node_says_is_no_calibration(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Calibration.from_json({**known().to_json(), **change})
    assert Calibration.from_json(known().to_json()) == known()


def test_a_damaged_file_is_as_good_as_none(cluster: Cluster) -> None:
    file = place_here(cluster, "alpha")
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert load(cluster, "alpha") is None


def test_the_rate_is_that_of_the_least_disturbed_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    seconds = iter([0.01] * 20 + [0.04] * 5 + [0.01] * 100)

    def unit() -> None:
        clock[0] += next(seconds)

    monkeypatch.setattr(workload.time, "perf_counter", lambda: clock[0])
    assert workload.rate(unit, 1.0) == pytest.approx(100.0, rel=0.06)
