"""`verify` on real nodes: down to a worker and containers, and receipts that the gate then holds nodes to."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning.errors import NotVerifiedError
from provisioning.gate import quick
from provisioning.inventory import Cluster, load
from provisioning.receipt import Receipt, folder
from provisioning.resources.base import DatasetNeed, Needs
from provisioning.resources.environment.project import files

ROOT = Path(__file__).resolve().parents[2]
NODES = ("node1", "node2", "node3")
FILES = ("datasets.csv",)


@dataclass
class Scene:
    """The practice cluster as it is, made ready once, under a name of its own for receipts."""

    file: Path
    sandbox: Any
    commands: Any

    def call(self, verb: str, *args: str, seconds: float = 280) -> tuple[int, dict[str, dict[str, Any]]]:
        done = self.commands.run("timeeval-provision", verb, "--cluster", self.file, "--json", *args, seconds=seconds)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows, done.stderr
        return done.returncode, {row["node"]: row for row in rows}

    @property
    def cluster(self) -> Cluster:
        return load(self.file)

    @property
    def needs(self) -> Needs:
        cluster = self.cluster
        data = DatasetNeed(PurePosixPath(cluster.datasets[0].path), (), FILES)
        return Needs((data,), tuple(image.name for image in cluster.images))

    def refusals(self) -> dict[str, str]:
        found = quick(self.cluster, self.cluster.nodes, self.needs)
        assert all(isinstance(one, Receipt | NotVerifiedError) for one in found.values()), found
        return {name: str(one) for name, one in found.items() if isinstance(one, NotVerifiedError)}


def errors(rows: dict[str, dict[str, Any]]) -> list[Any]:
    return [(name, row["state"], row["error"], row["findings"]) for name, row in rows.items()]


@pytest.fixture
def scene(sandbox, commands, cluster_variant, tmp_path):
    base, image = f"/srv/timeeval/test-verify-{os.getpid()}", f"timeeval-test/verify-{os.getpid()}"
    shutil.copytree(ROOT / "examples" / "data" / "nab", tmp_path / "nab")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(f"FROM timeeval-demo/base-plain:1\nLABEL test={name}\n")
    # as it is now: whoever edits this clone meanwhile makes the nodes differ from it, and rightly so
    for path in files(ROOT):
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / "project" / path)
    file = cluster_variant(
        {
            'projects = [".."]': f'projects = ["{tmp_path}/project"]',
            'name = "sandbox"': f'name = "test-{os.getpid()}"',
            'source = "../examples/data/nab"': f'source = "{tmp_path}/nab"',
            'path = "/srv/timeeval/data/nab"': f'path = "{base}/nab"',
            'results = "/srv/timeeval/results"': f'results = "{base}/results"',
            'name = "timeeval-demo/subsequence-stats:1"': f'name = "{image}:1"',
            'context = "../examples/algorithms/subsequence-stats"': f'context = "{tmp_path}/one"',
            'name = "timeeval-demo/ar-forecast:1"': f'name = "{image}:2"',
            'context = "../examples/algorithms/ar-forecast"': f'context = "{tmp_path}/two"',
        }
    )
    yield Scene(file, sandbox, commands)
    sandbox.heal()
    sandbox.wait()
    for node in sandbox.nodes:
        node.exec(["docker", "image", "rm", "--force", f"{image}:1", f"{image}:2"], check=False)
        node.exec(["rm", "-rf", base])
    subprocess.run(["docker", "image", "rm", "--force", f"{image}:1", f"{image}:2"], capture_output=True, check=False)
    shutil.rmtree(file.parent / ".timeeval" / f"test-{os.getpid()}", ignore_errors=True)


@pytest.mark.timeout(900)
def test_verified_nodes_have_receipts_and_the_gate_holds_them_to_it(scene):
    code, rows = scene.call("verify")
    assert code == 16, errors(rows)
    assert {row["error"]["kind"] for row in rows.values()} == {"NotVerifiedError"}
    assert set(scene.refusals().values()) == {f"{name}: it was never verified" for name in NODES}

    code, rows = scene.call("up", seconds=600)
    assert code == 0, errors(rows)
    assert scene.refusals() == {}
    code, rows = scene.call("verify")
    assert (code, {row["state"] for row in rows.values()}) == (0, {"ok"}), errors(rows)
    for name in NODES:
        receipt = Receipt.from_json(json.loads((folder(scene.cluster) / f"{name}.json").read_text()))
        node = scene.sandbox.node(name)
        there = f"{scene.cluster.state}/receipts/{name}.json"
        assert Receipt.from_json(json.loads(node.exec(["cat", there]).stdout)) == receipt
        assert receipt.environment
        assert len(receipt.images) == 2
        assert receipt.datasets[str(scene.cluster.datasets[0].path)].files.keys() >= set(FILES)
        assert receipt.boot_id.startswith(node.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip())
        # nothing that was started or written to prove it is left
        assert node.exec(["docker", "ps", "--all", "--quiet", "--filter", "label=timeeval.verify"]).stdout == ""
        assert node.exec(["sh", "-c", f"ls -A {scene.cluster.results} || true"]).stdout == ""

    # an image that somebody retags, a dataset and a package that somebody edits, after all was proven
    one, two = (image.name for image in scene.cluster.images)
    scene.sandbox.node("node1").exec(["docker", "tag", two, one])
    data, prefix = scene.cluster.datasets[0].path, scene.cluster.environment.prefix
    scene.sandbox.node("node2").exec(["sh", "-c", f"echo >> {data}/datasets.csv"])
    module = f"{prefix}/lib/python3.11/site-packages/timeeval/_version.py"
    scene.sandbox.node("node3").exec(["sh", "-c", f"echo '# edited' >> {module}"])
    refused = scene.refusals()
    assert refused.keys() == set(NODES)
    assert f"images are not the ones that were verified: {one}" in refused["node1"]
    assert f"files in {data} changed after they were verified: datasets.csv" in refused["node2"]
    assert "timeeval/_version.py was changed" in refused["node3"]
    code, rows = scene.call("verify")
    assert code == 16
    assert [row["error"]["kind"] for row in rows.values()] == ["NotVerifiedError"] * 3
    code, rows = scene.call("up", seconds=600)
    assert code == 0, errors(rows)
    assert scene.refusals() == {}


@pytest.mark.timeout(600)
def test_a_node_that_is_down_is_named_and_the_others_get_receipts(scene):
    with scene.sandbox.off("node3"):
        code, rows = scene.call("up", seconds=400)
        assert code & ~16 == 8, errors(rows)
        assert rows["node3"]["state"] == "unreachable"
        found = quick(scene.cluster, scene.cluster.nodes, scene.needs)
    assert isinstance(found["node1"], Receipt)
    assert isinstance(found["node2"], Receipt)
    assert not isinstance(found["node3"], Receipt)


@pytest.mark.timeout(600)
def test_a_node_that_was_started_anew_has_to_be_verified_again(scene):
    code, rows = scene.call("up", "--limit", "node1", seconds=400)
    assert code == 0, errors(rows)
    assert "node1" not in scene.refusals()
    with scene.sandbox.off("node1"):
        pass
    scene.sandbox.wait()
    assert "it was started anew after it was verified" in scene.refusals()["node1"]
