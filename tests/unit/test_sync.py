"""The whole way of the datasets on one machine: the driver is the node, everything else is real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from lone import lone

from provisioning import locks
from provisioning.errors import LockedError, NodeError, ProvisionError, UsageError
from provisioning.inventory import Cluster, DatasetFolder, Environment, Node
from provisioning.launch import Session, open_session
from provisioning.locks import hold, within
from provisioning.node import mark_places
from provisioning.plan import Job, run
from provisioning.report import Report, lines
from provisioning.resources.base import Difference, Needs, OnEvent, Task
from provisioning.resources.datasets import Datasets, Folder
from provisioning.resources.host import Host
from provisioning.transfer.fanout import Fanout

HEADER = "collection_name,dataset_name,train_path,test_path\n"
INDEX = HEADER + "NAB,one,,NAB/one.test.csv\nNAB,two,NAB/two.train.csv,NAB/two.test.csv\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    source = tmp_path / "source"
    (source / "NAB").mkdir(parents=True)
    for name in ("one.test", "two.train", "two.test"):
        (source / "NAB" / f"{name}.csv").write_text(f"timestamp,value,is_anomaly\n1,{len(name)},0\n")
    (source / "datasets.csv").write_text(INDEX)
    return lone(tmp_path, datasets=(DatasetFolder(source, PurePosixPath(tmp_path / "node" / "data")),))


@pytest.fixture
def sync(cluster: Cluster, tmp_path: Path) -> Callable[..., Report]:
    def go(
        cluster: Cluster = cluster, needs: Needs | None = None, *, dry_run: bool = False, delete: bool = False
    ) -> Report:
        resource = Datasets(tmp_path / "cache", delete=delete)
        return run(Job(cluster, cluster.nodes, [resource], Fanout(), needs, dry_run=dry_run))

    return go


def target(cluster: Cluster) -> Path:
    return Path(cluster.datasets[0].path)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".timeeval" not in str(path.relative_to(folder)))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_first_run_copies_and_the_second_changes_nothing(cluster: Cluster, sync: Callable[..., Report]) -> None:
    first = sync()
    assert (first.nodes[0].state, first.exit_code()) == ("changed", 0)
    assert files(target(cluster)) == files(cluster.datasets[0].source)
    second = sync()
    assert (second.nodes[0].state, second.nodes[0].made, second.exit_code()) == ("ok", (), 0)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(cluster: Cluster, sync: Callable[..., Report]) -> None:
    report = sync(dry_run=True)
    assert (report.nodes[0].state, report.exit_code()) == ("due", 0)
    assert "copy 4 files to" in "\n".join(lines(report, dry_run=True))
    assert not target(cluster).exists()
    assert not Path(cluster.state).exists()


def test_who_is_connected_is_asked_while_others_log_in(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def late(cluster: Cluster, node: Node, *, anew: bool) -> Session:
        if node.name == "beta" and not asked.wait(60):
            raise ProvisionError("alpha was not asked")
        return open_session(cluster, node, anew=anew)

    def heard(name: str, event: dict[str, object]) -> None:
        if name == "alpha" and event["title"] == "observe datasets":
            asked.set()

    monkeypatch.setattr("provisioning.plan.open_session", late)
    nodes = tuple(Node(name, is_driver=True) for name in ("alpha", "beta"))
    job = Job(cluster, nodes, [Datasets(tmp_path / "cache")], Fanout(), dry_run=True, on_event=heard)
    assert [node.state for node in run(job).nodes] == ["due", "due"]


def test_a_changed_byte_is_found_and_only_that_file_is_sent(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    path = target(cluster) / "NAB" / "one.test.csv"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    report = sync()
    assert [change.title for change in report.nodes[0].made] == [
        f"copy 1 files, 1 of them to replace others to {target(cluster)}"
    ]
    assert files(target(cluster)) == files(cluster.datasets[0].source)


def test_where_a_large_folder_differs_is_told_and_no_more(cluster: Cluster, sync: Callable[..., Report]) -> None:
    source = cluster.datasets[0].source
    for number in range(500):
        (source / "NAB" / f"{number}.txt").write_text("x")
    sync()
    (source / "NAB" / "7.txt").write_text("y")
    (source / "NAB" / "new\n.txt").write_text("new")
    (source / "NAB" / "9.txt").unlink()
    report = sync(dry_run=True, delete=True)
    told = report.nodes[0].facts["datasets"]["folders"][str(target(cluster))]["rows"]
    assert 2 <= len(told) < 400
    assert {"NAB/7.txt", "NAB/9.txt"} <= {row[0] for row in told}
    due = {key: value for change in report.nodes[0].due for key, value in change.detail.items() if key != "path"}
    assert due == {"missing": ["NAB/7.txt", "NAB/new\n.txt"], "delete": ["NAB/9.txt"]}
    assert sync(delete=True).exit_code() == 0
    assert files(target(cluster)) == files(source)


def test_a_deleted_file_comes_back(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    (target(cluster) / "NAB" / "two.train.csv").unlink()
    assert sync().nodes[0].made[0].size > 0
    assert files(target(cluster)) == files(cluster.datasets[0].source)


def test_a_listed_dataset_that_is_missing_is_one_clear_finding(cluster: Cluster, sync: Callable[..., Report]) -> None:
    (cluster.datasets[0].source / "NAB" / "two.train.csv").unlink()
    report = sync()
    assert report.exit_code() == UsageError.exit_code
    assert len(report.findings) == 1
    assert "lists files that are not in the folder: NAB/two.train.csv" in report.findings[0].message
    assert not target(cluster).exists()


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (HEADER + "NAB;one;;NAB/one.test.csv\n", r"datasets.csv, line 2: 1 values for 4 columns"),
        (INDEX + "NAB,three,,NAB/one.test.csv,more\n", r"datasets.csv, line 4: 5 values for 4 columns"),
        ("collection_name,dataset_name\n", "has no column test_path, train_path"),
        ("", "has no column collection_name"),
        (HEADER + "NAB,\udcff,,x.csv\n", "is not CSV in UTF-8"),
        (None, "there is no .*datasets.csv"),
    ],
)
def test_a_malformed_index_is_named_before_anything_is_sent(
    cluster: Cluster, sync: Callable[..., Report], index: str | None, words: str
) -> None:
    file = cluster.datasets[0].source / "datasets.csv"
    if index is None:
        file.unlink()
    else:
        file.write_text(index, encoding="utf-8", errors="surrogateescape")
    report = sync()
    assert report.exit_code() == UsageError.exit_code
    assert re.search(words, "\n".join(lines(report)))
    assert not target(cluster).exists()


def test_an_index_path_that_leaves_the_folder_is_refused(cluster: Cluster, sync: Callable[..., Report]) -> None:
    (cluster.datasets[0].source.parent / "secret.csv").write_text("x")
    (cluster.datasets[0].source / "datasets.csv").write_text(HEADER + "NAB,one,,../secret.csv\n")
    report = sync(needs=Needs.parse(needs(cluster, [["NAB", "one"]])))
    assert report.exit_code() == UsageError.exit_code
    assert "leaves its folder" in report.findings[0].message


def needs(cluster: Cluster, ids: list[list[str]]) -> str:
    import json

    dataset = {"path": str(cluster.datasets[0].path), "ids": ids, "files": []}
    return json.dumps({"schema": "timeeval.needs/1", "datasets": [dataset], "images": [], "modules": []})


def test_an_experiment_gets_what_it_needs_and_the_rest_can_follow(
    cluster: Cluster, sync: Callable[..., Report]
) -> None:
    part = Needs.parse(needs(cluster, [["NAB", "one"]]))
    sync(needs=part)
    assert sorted(files(target(cluster))) == ["NAB/one.test.csv", "datasets.csv"]
    assert sync(needs=part).nodes[0].state == "ok"
    assert sync().nodes[0].state == "changed"
    assert sync(needs=part).nodes[0].state == "ok"
    assert files(target(cluster)) == files(cluster.datasets[0].source)


def test_needs_in_a_folder_that_no_one_named_are_refused(cluster: Cluster, sync: Callable[..., Report]) -> None:
    text = needs(cluster, []).replace(str(cluster.datasets[0].path), "/elsewhere")
    assert "reads datasets in /elsewhere" in sync(needs=Needs.parse(text)).findings[0].message


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "timeeval.needs/9"}', '{"schema": "timeeval.needs/1", "datasets": 1}']
)
def test_what_is_no_needs_document_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs"):
        Needs.parse(text)


def test_a_folder_with_other_files_is_left_alone(cluster: Cluster, sync: Callable[..., Report]) -> None:
    path = target(cluster) / "NAB" / "one.test.csv"
    path.parent.mkdir(parents=True)
    path.write_text("somebody's own")
    report = sync()
    assert report.exit_code() == 4
    assert "were not put there by us" in str(report.nodes[0].error)
    assert path.read_text() == "somebody's own"


def test_a_full_disk_is_found_before_the_first_byte(cluster: Cluster, tmp_path: Path) -> None:
    with (cluster.datasets[0].source / "NAB" / "big.bin").open("wb") as stream:
        stream.truncate(1 << 20)
    resource = Datasets(tmp_path / "cache")
    difference = resource.difference
    desired = resource.desired(cluster, {}, None)
    seen = {"rsync": "/usr/bin/rsync", "environment": False, "folders": {str(cluster.datasets[0].path): dict(ROOM)}}
    found = difference(cluster, cluster.nodes[0], seen, desired)
    assert found.blocked
    assert "1000 are free" in found.findings[0].message
    assert (
        "rsync is not installed"
        in difference(cluster, cluster.nodes[0], seen | {"rsync": None}, desired).findings[1].message
    )


ROOM = {
    "exists": False,
    "directory": True,
    "nearest": "/",
    "writable": True,
    "free": 1000,
    "inodes": -1,
    "device": 1,
    "marked": False,
    "proven": False,
}


def test_nodes_that_share_a_place_receive_once(cluster: Cluster, sync: Callable[..., Report]) -> None:
    shared = replace(cluster, nodes=(*cluster.nodes, Node("beta", is_driver=True), Node("gamma", is_driver=True)))
    report = sync(shared)
    assert report.exit_code() == 0
    assert files(target(cluster)) == files(cluster.datasets[0].source)
    assert not list(Path(cluster.file.parent).rglob(".timeeval-token-*"))
    assert sync(shared).by_state() == {"ok": ["alpha", "beta", "gamma"]}


def test_places_are_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    stale = tmp_path / "one" / ".timeeval-token-old-gone"
    stale.touch()
    os.utime(stale, (1, 1))

    def ask(action: str, node: str, folder: str) -> list[str]:
        path = str(tmp_path / folder / "not" / "there")
        answer = mark_places.main({"action": action, "run": "r", "node": node, "paths": [path]}, None)  # type: ignore[arg-type]
        return list(answer["seen"].get(path, []))

    nodes = [("alpha", "one"), ("beta", "two"), ("gamma", "two")]
    for node, folder in nodes:
        ask("leave", node, folder)
    assert [ask("look", node, folder) for node, folder in nodes] == [["alpha"], ["beta", "gamma"], ["beta", "gamma"]]
    for node, folder in nodes:
        ask("remove", node, folder)
    assert not list(tmp_path.rglob(".timeeval-token-*"))


def test_a_lock_names_its_holder_and_dies_with_it(cluster: Cluster, sync: Callable[..., Report]) -> None:
    folder = cluster.datasets[0].path
    with open_session(cluster, cluster.nodes[0]) as session, ExitStack() as stack:
        hold(stack, session, {str(folder): within(folder)})
        report = sync()
        assert isinstance(report.nodes[0].error, LockedError)
        assert report.exit_code() == 32
        assert f"process {os.getpid()}" in str(report.nodes[0].error)
        assert files(target(cluster)) == {}
    assert sync().exit_code() == 0


def test_who_shares_a_place_with_a_node_that_failed_is_told_so(cluster: Cluster, sync: Callable[..., Report]) -> None:
    shared = replace(cluster, nodes=(*cluster.nodes, Node("beta", is_driver=True)))
    folder = cluster.datasets[0].path
    with open_session(cluster, cluster.nodes[0]) as session, ExitStack() as stack:
        hold(stack, session, {str(folder): within(folder)})
        report = sync(shared)
    assert report.by_state() == {"failed": ["alpha", "beta"]}
    assert report.exit_code() == 32 | 4
    assert "is the same place as on alpha, which failed" in str(report.nodes[1].error)


class _Puzzled(Datasets):
    """Reads an answer that is not what was agreed."""

    def settle(self, task: Task[tuple[Folder, ...]], on_event: OnEvent) -> None:
        super().settle(task, on_event)
        raise KeyError("failed")


class _Astonished(Datasets):
    """Meets an observation that is not what was agreed."""

    def difference(self, *args: Any, **more: Any) -> Difference:
        del args, more
        raise KeyError("room")


@pytest.mark.parametrize(
    ("resource", "kind", "told"),
    [
        (_Puzzled, ProvisionError, ("internal error: KeyError: 'failed'", "_settle")),
        (_Astonished, NodeError, ("its agent said what makes no sense: KeyError('room')", "difference")),
    ],
)
def test_what_cannot_be_read_of_a_node_is_its_error(
    cluster: Cluster, tmp_path: Path, resource: type[Datasets], kind: type[ProvisionError], told: tuple[str, str]
) -> None:
    report = run(Job(cluster, cluster.nodes, [resource(tmp_path / "cache")], Fanout()))
    error = report.nodes[0].error
    assert type(error) is kind
    assert (error.host, error.message) == ("alpha", told[0])
    assert told[1] in error.details
    assert report.exit_code() == {ProvisionError: 1, NodeError: 4}[kind]


class _Astray(Host):
    """A host of which one node says what makes no sense."""

    program = "node_programs.astray"

    def question(self, cluster: Cluster, node: Node, needs: Needs | None) -> dict[str, Any]:
        instead = {"namespaces": 7, "libc": []} if node.name == "beta" else {}
        return {**super().question(cluster, node, needs), "instead": instead}


def test_what_one_node_says_of_itself_does_not_stop_what_all_are_compared_for(cluster: Cluster) -> None:
    both = replace(cluster, nodes=(*cluster.nodes, Node("beta", is_driver=True)))
    report = run(Job(both, both.nodes, [_Astray()], Fanout(), dry_run=True))
    assert report.findings == ()
    assert report.nodes[0].error is None
    assert report.nodes[0].facts.keys() == {"host"}
    assert str(report.nodes[1].error).startswith("beta: node_programs.astray said what makes no sense: {'hostname'")
    assert report.exit_code() & 4


def test_a_lock_is_free_after_its_holder_was_killed(cluster: Cluster, sync: Callable[..., Report]) -> None:
    program = (
        "import sys; from contextlib import ExitStack; from pathlib import PurePosixPath\n"
        "from provisioning.inventory import Node; from provisioning.launch import Session\n"
        "from provisioning.locks import hold, within\n"
        "folder = PurePosixPath(sys.argv[1])\n"
        "hold(ExitStack(), Session(Node('alpha', is_driver=True), 60), {str(folder): within(folder)})\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program, str(cluster.datasets[0].path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert sync().exit_code() == 32
        process.kill()
    for _ in range(100):
        report = sync()
        if report.exit_code() == 0:
            break
    assert report.exit_code() == 0


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> Cluster:
    """A cluster whose environment is a venv with this very interpreter's packages."""
    prefix = tmp_path / "env"
    site = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (prefix / "bin").mkdir()
    base = Path(sys.base_prefix) / "bin"
    (prefix / "bin" / "python").symlink_to(base / f"python{sys.version_info.major}.{sys.version_info.minor}")
    (prefix / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n")
    return replace(cluster, environment=Environment(PurePosixPath(prefix), "3.11"))


READER = """
from pathlib import Path
class DatasetManager:
    def __init__(self, folder, create_if_missing=True):
        assert create_if_missing is False
        self.folder = folder
        rows = [line.split(",") for line in (folder / "datasets.csv").read_text().splitlines()[1:]]
        self.rows = {(row[0], row[1]): row for row in rows}
    def get(self, id):
        class Found: datasetId = (self.rows[id][0], self.rows[id][1])
        return Found
    def get_dataset_path(self, id):
        return self.folder / self.rows[id][3]
"""


def install_reader(cluster: Cluster, source: str) -> None:
    assert cluster.environment is not None
    site = next(Path(cluster.environment.prefix, "lib").glob("python3*")) / "site-packages"
    (site / "timeeval").mkdir(exist_ok=True)
    (site / "timeeval" / "__init__.py").write_text(source)


def test_the_nodes_own_environment_reads_each_dataset_once(environment: Cluster, sync: Callable[..., Report]) -> None:
    install_reader(environment, READER)
    first = sync(environment)
    assert first.exit_code() == 0, first.nodes[0].error
    assert "read 2 datasets" in "\n".join(change.title for change in first.nodes[0].made)
    assert sync(environment).nodes[0].state == "ok"


def test_a_new_environment_reads_again(environment: Cluster, sync: Callable[..., Report]) -> None:
    install_reader(environment, READER)
    sync(environment)
    assert environment.environment is not None
    config = Path(environment.environment.prefix, "pyvenv.cfg")
    config.write_text(config.read_text() + "\n")
    assert [change.title.split()[0] for change in sync(environment).nodes[0].made] == ["read"]


def test_a_dataset_that_cannot_be_read_is_named(environment: Cluster, sync: Callable[..., Report]) -> None:
    broken = READER.replace("return Found", "raise KeyError(id)")
    install_reader(environment, broken)
    report = sync(environment)
    assert report.exit_code() == 4
    assert "NAB/one: KeyError" in str(report.nodes[0].error)


def test_an_environment_without_timeeval_is_named(environment: Cluster, sync: Callable[..., Report]) -> None:
    report = sync(environment)
    assert report.exit_code() == 4
    assert "No module named 'timeeval'" in str(report.nodes[0].error)
    assert "create-envs" in str(report.nodes[0].error)


def test_a_driver_that_falls_silent_loses_its_locks_and_knows_it(
    cluster: Cluster, sync: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 3600.0)
    monkeypatch.setattr(locks, "SILENCE_SECONDS", 1.0)
    folder = cluster.datasets[0].path
    with open_session(cluster, cluster.nodes[0]) as session, ExitStack() as stack:
        held = hold(stack, session, {str(folder): within(folder)})
        monkeypatch.setattr(locks, "SILENCE_SECONDS", 90.0)
        held.check()
        for _ in range(100):
            report = sync()
            if report.exit_code() == 0:
                break
        assert report.exit_code() == 0
        monkeypatch.setattr(locks, "SILENCE_SECONDS", 1.0)
        with pytest.raises(LockedError, match="its locks were lost"):
            held.check()


def test_a_driver_that_speaks_keeps_its_locks(
    cluster: Cluster, sync: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.2)
    folder = cluster.datasets[0].path
    with open_session(cluster, cluster.nodes[0]) as session, ExitStack() as stack:
        monkeypatch.setattr(locks, "SILENCE_SECONDS", 3.0)
        held = hold(stack, session, {str(folder): within(folder)})
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            assert sync().exit_code() == 32
        held.check()
