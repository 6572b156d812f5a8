"""Histories of proofs: only ever added to, told to people, compared between nodes and times."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from provisioning import history, locks
from provisioning import receipt as receipts
from provisioning.commands import Options
from provisioning.errors import NotVerifiedError, UsageError
from provisioning.explain import diff, explain
from provisioning.gate import quick
from provisioning.history import Entry
from provisioning.inventory import Cluster, load
from provisioning.launch import open_session
from provisioning.node import history as chain
from provisioning.receipt import Proven, Receipt
from provisioning.resources.base import Needs
from provisioning.status import receipts as status

FACTS = {"kernel": "6.1", "package numpy": "2.1 (aa)", "boot": "b1", "memory": "8.0 GiB"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    text = f"""
[cluster]
name = "lab"
hosts = ["one", "two"]
driver = "one"
results = "{tmp_path}/results"
state = "{tmp_path}/state"
known_hosts = "known_hosts"

[[datasets]]
source = "{tmp_path}/source"
path = "{tmp_path}/data"
"""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "datasets.csv").write_text("")
    (tmp_path / "cluster.toml").write_text(text)
    return load(tmp_path / "cluster.toml")


def proof(name: str = "one", time: float = 1000.0, digest: str = "aa") -> Receipt:
    return Receipt(
        cluster="lab",
        node=name,
        time=time,
        tool="0.1.0",
        machine_id="m",
        boot_id="b",
        kernel="6.1",
        machine="x86_64",
        libc="glibc 2.36",
        clock_offset=0.01,
        python="3.11.2",
        prefix="/srv/env",
        lock="l",
        environment="e",
        docker=None,
        datasets={"/srv/data": Proven("d", {"a.csv": (digest, 3, 5, 7, 9)})},
        images={"x:1": "sha256:1"},
    )


@pytest.fixture
def prove(cluster: Cluster) -> Callable[..., None]:
    def go(name: str, time: float, digest: str = "aa", **facts: str) -> None:
        receipt = proof(name, time, digest)
        receipts.save(cluster, receipt)
        entry = Entry(
            time, "verified", "", "0.1.0", 0.01, {**FACTS, **{k.replace("_", " "): v for k, v in facts.items()}}
        )
        chain.append(str(history.place(cluster, cluster.node(name))), entry.to_json())

    return go


def test_a_history_is_chained_bounded_and_shows_what_was_changed(tmp_path: Path) -> None:
    file = tmp_path / "h" / "one.jsonl"
    assert chain.read(str(file)) == ([], [])
    for number in range(7):
        chain.append(str(file), {"n": number}, most=5)
    entries, broken = chain.read(str(file))
    assert [entry["n"] for entry in entries] == [2, 3, 4, 5, 6]
    assert broken == []
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:1], lines[1].replace('"n": 3', '"n": 9'), *lines[2:]]) + "\n")
    assert chain.read(str(file))[1] == [2]
    file.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert chain.read(str(file))[1] == [1]
    file.write_text("\n".join([lines[0], "half a li"]) + "\n")
    assert chain.read(str(file))[1] == [1]


def test_a_receipt_is_kept_and_withdrawn_on_node_and_driver(cluster: Cluster) -> None:
    node = cluster.node("one")
    receipt = replace(proof(), time=2000.0)
    with open_session(cluster, node) as session:
        history.keep(cluster, session, receipt, FACTS)
        assert receipts.load(cluster, node) == receipt
        there = Path(receipts.place_on_node(cluster, node))
        assert Receipt.from_json(json.loads(there.read_text())) == receipt
        assert history.unproven(cluster, node) == "it was never verified"
        history.withdraw(cluster, node, "a layer has rotted", session)
        history.withdraw(cluster, node, "said once", session)
    assert receipts.load(cluster, node) is None
    assert not there.exists()
    refused = quick(cluster, [node], Needs())["one"]
    assert isinstance(refused, NotVerifiedError)
    assert "not verified since" in refused.message
    assert "a layer has rotted" in refused.message
    for file in (history.place(cluster, node), history.place_on_node(cluster, node)):
        entries, broken = chain.read(str(file))
        assert [entry["event"] for entry in entries] == ["verified", "withdrawn"]
        assert broken == []


def test_times_and_numbers_find_a_proof() -> None:
    entries = [Entry(1000.0, "verified"), Entry(1500.0, "withdrawn", "x"), Entry(2000.0, "verified")]
    assert history.find(entries, "0").time == 2000.0
    assert history.find(entries, "1").time == 1000.0
    assert history.find(entries, "1970-01-01T00:20:00").time == 1000.0
    assert history.find(entries, "2020-01-01").time == 2000.0
    assert history.find(entries, "1960-01-01").time == 1000.0
    for wrong in ("2", "soon"):
        with pytest.raises(UsageError):
            history.find(entries, wrong)
    with pytest.raises(UsageError, match="never verified"):
        history.find([], "0")


def test_two_nodes_and_two_times_are_compared(cluster: Cluster, prove: Callable[..., None]) -> None:
    options = Options(cluster.file)
    prove("one", 1000.0)
    prove("one", 2000.0, boot="b2", package_numpy="2.2 (bb)")
    prove("two", 2000.0, digest="cc", kernel="5.10")
    code, lines = diff(options, ["one"], "1", as_json=False)
    assert code == 16
    assert lines[1] == "package numpy: 2.1 (aa) -> 2.2 (bb) (may change results)"
    assert lines[2] == "boot: b1 -> b2 (changes neither results nor run times)"
    code, lines = diff(options, ["one", "two"], None, as_json=True)
    told = json.loads(lines[0])
    assert code == 16
    facts = {step["fact"]: step["changes"] for step in told["differences"]}
    assert facts == {"package numpy": "results", "kernel": "times", "dataset file /srv/data/a.csv": "results"}
    assert diff(options, ["two"], "0", as_json=False)[1][1:] == ["nothing that was observed differs"]
    for hosts, since in ((["one"], None), (["one", "two"], "1")):
        with pytest.raises(UsageError, match="two hosts, or one"):
            diff(options, hosts, since, as_json=False)


def test_all_that_is_known_of_a_node_is_told(cluster: Cluster, prove: Callable[..., None]) -> None:
    options = Options(cluster.file)
    code, lines = explain(options, "one", as_json=False)
    assert code == 16
    assert "proof: it was never verified" in lines
    prove("one", 1000.0)
    prove("one", 1500.0)
    prove("one", 2000.0, kernel="6.2")
    data = PurePosixPath(cluster.datasets[0].path)
    with open_session(cluster, cluster.node("one")) as session, ExitStack() as stack:
        locks.hold(stack, session, {str(data): locks.within(data)})
        code, lines = explain(options, "one", as_json=False)
    text = "\n".join(lines)
    assert code == 0
    assert f"{data} is being changed by" in text
    assert "verified (2 times)" in text.replace("  ", " ") or "(2 times)" in text
    assert "kernel 6.1 -> 6.2" in text
    assert "packages" in text
    assert "nobody changes anything" in "\n".join(explain(options, "one", as_json=False)[1])
    document = json.loads(explain(options, "one", as_json=True)[1][0])
    assert (document["schema"], len(document["history"]), document["tampered"]) == ("timeeval.explain/1", 3, [])
    file = history.place(cluster, cluster.node("one"))
    file.write_text(file.read_text().replace("6.1", "6.0", 1))
    assert any("somebody changed it" in line for line in explain(options, "one", as_json=False)[1])


def test_a_damaged_receipt_hides_neither_the_other_nodes_nor_what_else_is_known(
    cluster: Cluster, prove: Callable[..., None]
) -> None:
    prove("one", 1000.0)
    prove("two", 1000.0)
    (receipts.folder(cluster) / "one.json").write_text("{")
    options = Options(cluster.file)
    code, lines = explain(options, "one", as_json=False)
    assert code == 16
    assert "one.json cannot be read: " in lines[1]
    assert lines[1].endswith(f"; timeeval-provision verify --cluster {cluster.file} --limit one")
    assert any("verified" in line for line in lines[2:])
    code, lines = status(options, as_json=False)
    assert code == 16
    assert [line.partition(":")[0] for line in lines] == ["one", "two"]
    assert "one.json cannot be read: " in lines[0]
    assert lines[1].startswith("two: verified ")
    code, lines = status(options, as_json=True)
    assert (code, [bool(json.loads(line)["missing"]) for line in lines]) == (16, [True, False])


def test_a_node_that_is_not_reached_is_told_of_as_well(cluster: Cluster, prove: Callable[..., None]) -> None:
    prove("two", 1000.0)
    code, lines = explain(Options(cluster.file), "two", as_json=False)
    assert code == 0
    assert any("it was not reached" in line for line in lines)
