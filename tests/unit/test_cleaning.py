"""`clean`: what we put on a node goes, after it was shown and agreed to; what is not ours stays and is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioning import cleaning, history, locks
from provisioning import receipt as receipts
from provisioning.cleaning import Wish, clean
from provisioning.commands import Options
from provisioning.errors import LockedError, UsageError
from provisioning.inventory import Cluster, Node, load
from provisioning.launch import open_session
from provisioning.node import landing, tree, venvs

INDEX = "collection_name,dataset_name,train_path,test_path\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "datasets.csv").write_text(INDEX)
    (tmp_path / "lock.txt").write_text("")
    (tmp_path / "cluster.toml").write_text(f"""
[cluster]
name = "lab"
hosts = ["here"]
driver = "here"
results = "{tmp_path}/node/results"
state = "{tmp_path}/node/state"
known_hosts = "known_hosts"

[[datasets]]
source = "{tmp_path}/source"
path = "{tmp_path}/node/data"

[environment]
prefix = "{tmp_path}/node/envs/demo"
python = "3.11"
requirements = ["lock.txt"]
""")
    return load(tmp_path / "cluster.toml")


@pytest.fixture
def sweep(cluster: Cluster) -> Callable[..., tuple[int, list[str]]]:
    def go(
        *, everything: bool = False, dry_run: bool = False, agree: Callable[[Sequence[str]], bool] = lambda _: True
    ) -> tuple[int, list[str]]:
        return clean(Wish(Options(cluster.file, dry_run=dry_run), everything, agree), lambda _node, _event: None)

    return go


def environment(prefix: Path) -> None:
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    venvs.write_marker(prefix, {"lock": "l", "identity": "i", "compiled": True, "python": "3.11"})


def dataset(folder: Path) -> None:
    (folder / "NAB").mkdir(parents=True)
    for path in ("datasets.csv", "NAB/one.csv", "NAB/two.csv"):
        (folder / path).write_text(path)
    landing.control(str(folder)).mkdir()
    files = {path: tree.row_of(str(folder), path) for path in ("datasets.csv", "NAB/one.csv", "NAB/two.csv")}
    landing.write_marker(str(folder), {"files": files})


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path) -> Path:
    """Everything that our commands leave on a node."""
    root = tmp_path / "node"
    environment(root / "envs" / "demo")
    environment(root / "envs" / "demo.previous")
    (root / "envs" / "demo.python-0123456789abcdef" / "bin").mkdir(parents=True)
    (root / "envs" / "demo.python-0123456789abcdef" / "bin" / "python3.11").write_text("came along")
    (root / "envs" / ".demo.timeeval-lock").write_text("{}")
    (root / "state" / "adopted").mkdir(parents=True)
    (root / "state" / "adopted" / "0123456789abcdef.json").write_text("{}")
    dataset(root / "data")
    (root / "data" / ".timeeval-lock").write_text("{}")
    for path in ("store/wheels/0123456789abcdef/dep.whl", "receipts/here.json", "proofs/datasets-here.json"):
        (root / "state" / path).parent.mkdir(parents=True)
        (root / "state" / path).write_text("{}")
    (root / "results" / ".verify-0011").mkdir(parents=True)
    file = receipts.folder(cluster) / "here.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"schema": "timeeval.receipt/1"}))
    return root


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_it_is_shown_first_and_nothing_goes_without_consent(
    sweep: Callable[..., tuple[int, list[str]]], node: Path, cluster: Cluster
) -> None:
    before = names(node)
    code, lines = sweep(dry_run=True)
    assert code == 0
    assert any(line.startswith(f"would remove here: environment {node}/envs/demo (") for line in lines)
    assert f"left here: datasets {node}/data: --all takes them away too" in lines
    shown: list[str] = []

    def refuse(lines: Sequence[str]) -> bool:
        shown.extend(lines)
        return False

    with pytest.raises(UsageError, match="nothing was removed"):
        sweep(agree=refuse)
    assert shown == lines
    assert names(node) == before
    assert history.unproven(cluster, cluster.nodes[0]) == "it was never verified"


def test_what_is_ours_goes_and_datasets_only_on_demand(
    sweep: Callable[..., tuple[int, list[str]]], node: Path, cluster: Cluster
) -> None:
    code, lines = sweep()
    assert code == 0, lines
    assert any(line.startswith(f"removed here: environment {node}/envs/demo (") for line in lines)
    assert {name.partition("/")[0] for name in names(node)} == {"data"}
    assert not (node / "state").exists()
    assert "the node was cleaned" in history.unproven(cluster, cluster.nodes[0])
    code, lines = sweep(everything=True)
    assert code == 0, lines
    assert names(node) == set()
    assert not (node / "data").exists()
    assert sweep(everything=True) == (0, ["nothing of ours is there"])


def test_an_answer_of_another_shape_is_the_nodes_error(
    sweep: Callable[..., tuple[int, list[str]]], node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(node)
    monkeypatch.setattr(cleaning, "CLEAN", "node_programs.liar")
    code, lines = sweep(everything=True)
    assert code == 4
    assert [line for line in lines if "node_programs.liar said what makes no sense" in line] == lines
    assert names(node) == before


def test_what_carries_no_mark_is_refused(sweep: Callable[..., tuple[int, list[str]]], tmp_path: Path) -> None:
    root = tmp_path / "node"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "envs" / "demo")], check=True)
    (root / "data").mkdir()
    (root / "data" / "own.csv").write_text("mine")
    (root / "state" / "store" / "wheels" / "mine").mkdir(parents=True)
    (root / "state" / "store" / "wheels" / "mine" / "x.whl").write_text("mine")
    (root / "state" / "notes.txt").write_text("mine")
    (root / "state" / "driven" / "r-1" / "results").mkdir(parents=True)
    (root / "state" / "driven" / "r-1" / "cluster.toml").write_text("ours")
    (root / "results" / "run").mkdir(parents=True)
    (root / "results" / "run" / "results.csv").write_text("mine")
    before = names(root)
    code, lines = sweep(everything=True)
    assert code == 4
    assert f"left here: environment {root}/envs/demo: it was not made by create-envs" in lines
    assert f"left here: datasets {root}/data: they were not put there by sync-datasets" in lines
    assert any("results are yours" in line for line in lines)
    driven = f"left here: run {root}/state/driven/r-1: a run is driven from here: timeeval-results fetch brings its"
    assert any(line.startswith(driven) for line in lines)
    assert names(root) == before


def test_what_somebody_changed_among_ours_stays(sweep: Callable[..., tuple[int, list[str]]], node: Path) -> None:
    (node / "data" / "NAB" / "one.csv").write_text("labels by hand")
    (node / "data" / "NAB" / "own.csv").write_text("mine")
    code, lines = sweep(everything=True)
    assert code == 4
    assert f"left here: 1 files in {node}/data: somebody changed them: NAB/one.csv" in lines
    assert names(node) == {"data/NAB/one.csv", "data/NAB/own.csv"}


def test_a_link_leads_to_nothing_of_ours(
    sweep: Callable[..., tuple[int, list[str]]], node: Path, tmp_path: Path
) -> None:
    (node / "data" / "NAB").rename(tmp_path / "elsewhere")
    (node / "data" / "NAB").symlink_to(tmp_path / "elsewhere")
    sweep(everything=True)
    assert names(tmp_path / "elsewhere") == {"one.csv", "two.csv"}


def test_an_environment_in_use_stays(sweep: Callable[..., tuple[int, list[str]]], node: Path) -> None:
    python = node / "envs" / "demo" / "bin" / "python"
    with subprocess.Popen([str(python), "-c", "input()"], stdin=subprocess.PIPE) as user:
        code, lines = sweep()
        assert code == 4
        assert f"left here: environment {node}/envs/demo: process {user.pid} runs from it" in lines
        assert python.exists()
        assert (node / "envs" / "demo.python-0123456789abcdef" / "bin" / "python3.11").exists()
        user.communicate(b"\n")


def test_a_folder_that_another_command_changes_is_not_cleaned(
    sweep: Callable[..., tuple[int, list[str]]], node: Path, cluster: Cluster
) -> None:
    held: dict[str, Any] = {str(node / "data"): locks.known(cluster)[str(node / "data")]}
    with open_session(cluster, cluster.nodes[0]) as session, ExitStack() as stack:
        locks.hold(stack, session, held)
        code, lines = sweep(everything=True)
    assert code == LockedError.exit_code
    assert "is being changed by" in lines[-1]
    assert (node / "data" / "NAB" / "one.csv").exists()


def test_a_place_that_another_node_shares_is_not_taken_from_it(
    node: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(cluster, nodes=(*cluster.nodes, Node("there", is_driver=True)))
    monkeypatch.setattr("provisioning.cleaning.open_cluster", lambda _options: (both, both.nodes[:1]))
    before = names(node)
    code, lines = clean(Wish(Options(cluster.file), True, lambda _: True), lambda _node, _event: None)
    assert code == 4
    assert len(lines) == 1
    assert "is the same place as on there, which is not to be cleaned; clean there together with it" in lines[0]
    assert names(node) == before
    monkeypatch.setattr("provisioning.cleaning.open_cluster", lambda _options: (both, both.nodes))
    code, lines = clean(Wish(Options(cluster.file), True, lambda _: True), lambda _node, _event: None)
    assert names(node) == set(), lines
