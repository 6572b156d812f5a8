"""`sync-datasets` on real nodes, and what must not go wrong when something does."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from provisioning.errors import UnreachableError
from provisioning.inventory import load
from provisioning.launch import open_session
from provisioning.locks import hold, within
from provisioning.sandbox.layout import FULL
from provisioning.transfer.gather import Gathered, Gathering

if TYPE_CHECKING:
    from provisioning.sandbox.cluster import Sandbox

HEADER = "collection_name,dataset_name,train_path,test_path\n"


@dataclass
class Scene:
    """A dataset folder of this test, its cluster file, and the command."""

    source: Path
    target: str
    file: Path
    sandbox: Sandbox
    commands: Any

    def sync(self, *args: str, seconds: float = 120) -> tuple[int, dict[str, dict[str, Any]]]:
        done = self.commands.run(
            "timeeval-provision", "sync-datasets", "--cluster", self.file, "--json", *args, seconds=seconds
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows, done.stderr
        return done.returncode, {row["node"]: row for row in rows}

    def sync_again(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Go on after a sudden end; a node may not have seen yet that its driver is gone."""
        for _ in range(20):
            code, rows = self.sync()
            if code != 32:
                break
            time.sleep(0.5)
        return code, rows

    def digests(self, name: str) -> dict[str, str]:
        """What the node itself computes."""
        find = "cd $1 && find . -type f ! -path './.timeeval*' -exec sha256sum {} +"
        out = self.sandbox.node(name).exec(["sh", "-c", find, "sh", self.target]).stdout
        return {line[66:]: line[:64] for line in out.splitlines()}

    def here(self) -> dict[str, str]:
        find = "cd $1 && find . -type f -exec sha256sum {} +"
        out = subprocess.run(["sh", "-c", find, "sh", self.source], check=True, capture_output=True, text=True).stdout
        return {line[66:]: line[:64] for line in out.splitlines()}


@pytest.fixture
def make_scene(
    sandbox: Sandbox, commands: Any, cluster_variant: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., Scene]]:
    targets = []

    def make(root: str = "/srv/timeeval", **replaced: str) -> Scene:
        source = tmp_path / "source"
        (source / "NAB").mkdir(parents=True)
        for name in ("one.test", "two.train", "two.test"):
            (source / "NAB" / f"{name}.csv").write_text("timestamp,value,is_anomaly\n" + "1,0.5,0\n" * 1000)
        (source / "NAB" / "spaces and 'quotes' $(x).csv").write_text("odd")
        (source / "datasets.csv").write_text(
            HEADER + "NAB,one,,NAB/one.test.csv\nNAB,two,NAB/two.train.csv,NAB/two.test.csv\n"
        )
        target = f"{root}/test-datasets-{os.getpid()}"
        targets.append(target)
        file = cluster_variant(
            {
                'source = "../examples/data/nab"': f'source = "{source}"',
                'path = "/srv/timeeval/data/nab"': f'path = "{target}"',
                'prefix = "/srv/timeeval/envs/demo"': 'prefix = "/srv/timeeval/envs/none"',
                **replaced,
            }
        )
        return Scene(source, target, file, sandbox, commands)

    yield make
    sandbox.heal()
    for node in sandbox.nodes:
        for target in targets:
            node.exec(["rm", "-rf", target])


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()


def states(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: row["state"] for name, row in rows.items()}


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.05)


ALL_CHANGED = {"node1": "changed", "node2": "changed", "node3": "changed"}
ALL_OK = {"node1": "ok", "node2": "ok", "node3": "ok"}


def test_all_nodes_get_the_same_bytes_and_a_second_run_changes_nothing(scene: Scene) -> None:
    code, rows = scene.sync()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    for node in scene.sandbox.nodes:
        assert scene.digests(node.name) == scene.here()
        shown = node.exec(["stat", "-c", "%a %U %n", f"{scene.target}/NAB", f"{scene.target}/datasets.csv"]).stdout
        assert shown.split()[0::3] == ["755", "644"]
        assert shown.split()[1::3] == ["bench", "bench"]
    assert scene.sync()[0] == 0
    assert states(scene.sync()[1]) == ALL_OK


def test_read_only_sources_can_be_placed(scene: Scene) -> None:
    for path in sorted(scene.source.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert scene.sync()[0] == 0
    assert scene.digests("node1") == scene.here()
    (scene.source / "NAB").chmod(0o755)
    (scene.source / "NAB" / "new.csv").write_text("new")
    (scene.source / "NAB").chmod(0o555)
    assert scene.sync()[0] == 0
    assert scene.digests("node3") == scene.here()


def test_a_node_that_is_down_is_named_and_the_others_finish(scene: Scene) -> None:
    with scene.sandbox.off("node2"):
        code, rows = scene.sync()
        assert code == 8, rows
        assert states(rows) == ALL_CHANGED | {"node2": "unreachable"}
        assert rows["node2"]["error"]["message"]
        assert rows["node2"]["error"]["remedy"]
    code, rows = scene.sync()
    assert (code, states(rows)) == (0, ALL_OK | {"node2": "changed"})


def test_a_full_disk_is_refused_before_the_first_byte_and_the_others_finish(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(FULL)
    (scene.source / "NAB" / "big.bin").write_bytes(os.urandom(1 << 20))
    with scene.sandbox.full_disk("node3"):
        code, rows = scene.sync()
        assert code == 4, rows
        assert states(rows) == ALL_CHANGED | {"node3": "failed"}
        told = [finding["message"] for finding in rows["node3"]["findings"]]
        assert any("bytes have to fit on the file system" in message for message in told), rows["node3"]
        assert scene.sandbox.node("node3").exec(["ls", "-d", scene.target], check=False).returncode != 0
    assert scene.sync()[0] == 0
    assert scene.digests("node3") == scene.here()


def test_a_dataset_that_is_listed_but_missing_stops_everything_with_one_finding(scene: Scene) -> None:
    (scene.source / "NAB" / "two.train.csv").unlink()
    done = scene.commands.run("timeeval-provision", "sync-datasets", "--cluster", scene.file)
    assert done.returncode == 2
    errors = [line for line in done.stdout.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "NAB/two.train.csv" in errors[0]
    assert scene.sandbox.node("node1").exec(["ls", "-d", scene.target], check=False).returncode != 0


def test_a_flipped_byte_is_found_and_repaired(scene: Scene) -> None:
    scene.sync()
    flip = "printf X | dd of=$1 bs=1 seek=100 conv=notrunc 2>/dev/null"
    scene.sandbox.node("node2").exec(["sh", "-c", flip, "sh", f"{scene.target}/NAB/one.test.csv"], user="bench")
    assert scene.digests("node2") != scene.here()
    code, rows = scene.sync("--dry-run")
    assert (code, states(rows)) == (0, ALL_OK | {"node2": "due"})
    code, rows = scene.sync()
    assert (code, states(rows)) == (0, ALL_OK | {"node2": "changed"})
    assert scene.digests("node2") == scene.here()


def test_a_killed_sync_leaves_no_name_and_goes_on_where_it_was(scene: Scene) -> None:
    for number in range(30):
        (scene.source / "NAB" / f"big{number:02}.bin").write_bytes(os.urandom(2 << 20))
    node = scene.sandbox.node("node1")
    stage = f"{scene.target}/.timeeval-sync/stage/NAB"

    def staged() -> dict[str, str]:
        out = node.exec(["sh", "-c", f"stat -c '%n %i' {stage}/big*.bin 2>/dev/null || :"]).stdout
        return dict(line.rsplit("/", 1)[1].split() for line in out.splitlines())

    process = scene.commands.start("timeeval-provision", "sync-datasets", "--cluster", scene.file, "--bwlimit", "10M")
    wait_until(lambda: bool(staged()))
    scene.commands.kill(process)
    before = staged()
    assert before
    assert scene.digests("node1") == {}
    code, rows = scene.sync_again()
    assert code == 0, rows
    assert scene.digests("node1") == scene.here()
    out = node.exec(["sh", "-c", f"stat -c '%n %i' {scene.target}/NAB/big*.bin"]).stdout
    after = dict(line.rsplit("/", 1)[1].split() for line in out.splitlines())
    assert before.items() <= after.items()  # a rename keeps the inode: these did not travel again


def test_an_interrupted_sync_leaves_nothing_running(scene: Scene) -> None:
    for number in range(30):
        (scene.source / "NAB" / f"big{number:02}.bin").write_bytes(os.urandom(2 << 20))
    node = scene.sandbox.node("node1")
    process = scene.commands.start("timeeval-provision", "sync-datasets", "--cluster", scene.file, "--bwlimit", "10M")
    running = ["pgrep", "-u", "bench", "-f", "timeeval-node/1"]
    stage = f"{scene.target}/.timeeval-sync/stage/NAB"
    wait_until(lambda: node.exec(["ls", stage], check=False).returncode == 0)
    assert node.exec(running, check=False).returncode == 0
    assert scene.commands.interrupt(process) == 130
    for each in scene.sandbox.nodes:
        wait_until(lambda each=each: each.exec(running, check=False).returncode == 1)
    assert scene.digests("node1") == {}
    code, rows = scene.sync_again()
    assert code == 0, rows
    assert scene.digests("node1") == scene.here()


def test_a_changed_host_key_is_refused_with_its_remedy(
    make_scene: Callable[..., Scene], sandbox: Sandbox, tmp_path: Path
) -> None:
    known, config = tmp_path / "known_hosts", tmp_path / "ssh_config"
    rows = [line.split(maxsplit=1) for line in (sandbox.folder / "known_hosts").read_text().splitlines()]
    others = {name: [key for other, key in rows if "node3" in other] for name, _ in rows if "node2" in name}
    lines = [f"{name} {key}" for name, key in rows if name not in others]
    known.write_text("\n".join(lines + [f"{name} {key}" for name, keys in others.items() for key in keys]) + "\n")
    own = (sandbox.folder / "ssh_config").read_text()
    config.write_text(own.replace(str(sandbox.folder / "known_hosts"), str(known)))
    assert config.read_text() != own
    scene = make_scene(
        **{
            'known_hosts = "known_hosts"': f'known_hosts = "{known}"',
            'ssh_config = "ssh_config"': f'ssh_config = "{config}"',
        }
    )
    code, answer = scene.sync()
    assert code == 8, answer
    assert states(answer) == ALL_CHANGED | {"node2": "unreachable"}
    assert "trust node2" in answer["node2"]["error"]["remedy"]


def test_a_login_shell_with_a_banner_is_no_obstacle(scene: Scene) -> None:
    with scene.sandbox.login_shell("node2", "tcsh", "Welcome to node2: have fun!"):
        code, rows = scene.sync()
    assert (code, states(rows)) == (0, ALL_CHANGED)
    assert scene.digests("node2") == scene.here()


def test_two_operators_are_kept_apart(scene: Scene) -> None:

    cluster = load(scene.file)
    folder = PurePosixPath(scene.target)
    with open_session(cluster, cluster.node("node1")) as session, ExitStack() as stack:
        hold(stack, session, {str(folder): within(folder)})
        code, rows = scene.sync()
        assert code == 32, rows
        assert states(rows) == ALL_CHANGED | {"node1": "failed"}
        assert f"process {os.getpid()}" in rows["node1"]["error"]["message"]
    assert scene.sync()[0] == 0


def test_results_of_a_node_are_fetched_and_only_they(scene: Scene, tmp_path: Path) -> None:
    cluster = load(scene.file)
    node = scene.sandbox.node("node2")
    script = (
        'mkdir -p "$1/one" "$1/two" && echo 1 > "$1/one/scores" && ln -s /etc/passwd "$1/one/l" && mkfifo "$1/one/p"'
    )
    node.exec(["sh", "-c", script, "sh", scene.target], user="bench")
    local = tmp_path / "results"
    gathering = Gathering(cluster, cluster.node("node2"), PurePosixPath(scene.target), local, local / ".incoming")
    try:
        assert gathering.fetch(["one"]) == Gathered(files=1, size=2, other=("one/l", "one/p"))
        assert [path.name for path in local.rglob("*") if path.is_file()] == ["scores"]
        node.exec(["sh", "-c", f"echo 22 > {scene.target}/one/scores"], user="bench")
        assert gathering.fetch(["one", "two"]) == Gathered(files=1, size=3, other=("one/l", "one/p"))
        with scene.sandbox.cut_off("node2"), pytest.raises(UnreachableError, match="node2"):
            gathering.fetch(["one"])
        assert gathering.fetch(["one"]).present == 1
    finally:
        gathering.close()
