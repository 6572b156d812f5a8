"""Verification without nodes: how the workers' check is heard, and what a report says of nodes that do not stand."""

from pathlib import Path, PurePosixPath

import pytest

from provisioning import history, receipt, verify
from provisioning.errors import NotVerifiedError, UnreachableError, UsageError
from provisioning.inventory import Cluster, Node
from provisioning.plan import Job
from provisioning.report import NodeReport, Report
from provisioning.resources.base import Change, Finding
from provisioning.transfer.star import Star

NODES = (Node("a"), Node("b"))


@pytest.fixture
def cluster(tmp_path):
    return Cluster(
        name="lab",
        file=tmp_path / "cluster.toml",
        nodes=NODES,
        driver=Node("local", is_driver=True),
        scheduler=NODES[0],
        results=PurePosixPath("/r"),
        state=PurePosixPath("/s"),
        known_hosts=tmp_path / "known_hosts",
    )


@pytest.fixture
def speaker(tmp_path, monkeypatch):
    """Put a module in the place of the workers' check."""

    def write(text):
        Path(tmp_path, "speaks.py").write_text("import json, sys\nasked = json.load(sys.stdin)\n" + text)
        monkeypatch.setattr(verify, "SELFCHECK", "speaks")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return write


def test_answers_are_heard_through_noise_and_silence_is_a_failure(cluster, speaker):
    speaker(
        "print('a banner')\nprint('[1, 2]')\n"
        "print(json.dumps({'node': asked['nodes'][0], 'ok': True, 'worker': {'python': '3.11'}}))\n"
        "print(json.dumps({'node': 'stranger', 'ok': True}))\n"
        "sys.exit('out of breath')\n"
    )
    heard = verify.selfcheck(cluster, ["a", "b"])
    assert heard["a"]["ok"] is True
    assert heard["b"]["ok"] is False
    assert "out of breath" in heard["b"]["error"]
    assert heard.keys() == {"a", "b"}


def test_a_check_that_hangs_is_ended(cluster, speaker, monkeypatch):
    speaker("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(verify, "SELFCHECK_SECONDS", 0.5)
    assert "did not come up" in verify.selfcheck(cluster, ["a"])["a"]["error"]


def test_nodes_with_work_left_or_findings_are_not_verified(cluster):
    job = Job(cluster, NODES, (), Star(), dry_run=True)
    due = NodeReport("a", due=(Change("a", "images", "load 2 images"),), dry_run=True)
    found = NodeReport("b", findings=(Finding("b", "host", "no rsync", "install rsync"),))
    report = verify.prove(job, {}, Report((due, found)))
    assert [type(node.error) for node in report.nodes] == [NotVerifiedError, NotVerifiedError]
    assert "images: load 2 images" in str(report.nodes[0].error)
    assert [node.state for node in report.nodes] == ["failed", "failed"]
    assert report.exit_code(finding=16) == 16


def test_a_node_that_was_not_reached_keeps_its_own_error(cluster):
    job = Job(cluster, NODES, (), Star())
    gone = UnreachableError("no route", host="a")
    report = verify.prove(job, {}, Report((NodeReport("a", error=gone),)))
    assert report.nodes[0].error is gone


@pytest.mark.parametrize(
    ("line", "deep", "stands"),
    [
        (NodeReport("a", findings=(Finding("a", "access", "its clock is off", "set it"),)), False, False),
        (NodeReport("a", due=(Change("a", "datasets", "copy 1 files"),)), False, True),
        (NodeReport("a", due=(Change("a", "datasets", "copy 1 files"),)), True, False),
        (NodeReport("a", error=UnreachableError("no route", host="a")), True, True),
    ],
)
def test_a_receipt_falls_with_what_speaks_against_it_and_nothing_else(cluster, line, deep, stands):
    file = receipt.folder(cluster) / "a.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    verify.prove(Job(cluster, NODES, (), Star(), dry_run=True, deep=deep), {}, Report((line,)))
    assert file.exists() == stands
    assert (history.unproven(cluster, NODES[0]) == "it was never verified") == stands


def test_what_is_wrong_on_the_driver_takes_no_receipt(cluster):
    file = receipt.folder(cluster) / "a.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    verify.prove(Job(cluster, NODES, (), Star()), {}, Report((NodeReport("a"),), errors=(UsageError("no index"),)))
    assert file.exists()
