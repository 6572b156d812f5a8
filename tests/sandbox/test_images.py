"""`push-images` on real nodes: built once, sent where they lack, proven by identity."""

import contextlib
import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioning.inventory import load
from provisioning.launch import open_session
from provisioning.resources.images.build import ensure, export
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.resource import ledger
from provisioning.sandbox.layout import FULL

NODES = ("node1", "node2", "node3")
ALL_CHANGED = dict.fromkeys(NODES, "changed")
ALL_OK = dict.fromkeys(NODES, "ok")


@dataclass
class Scene:
    """Two small images of this test."""

    file: Path
    contexts: Path
    names: tuple[str, str]
    sandbox: Any
    commands: Any

    def push(self, *args: str, seconds: float = 200) -> tuple[int, dict[str, dict[str, Any]]]:
        done = self.commands.run(
            "timeeval-provision", "push-images", "--cluster", self.file, "--json", *args, seconds=seconds
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows, done.stderr
        return done.returncode, {row["node"]: row for row in rows}

    def store(self, node: str) -> dict[str, int]:
        """Files of a node's store of layers, with their bytes."""
        folder = f"/srv/timeeval/test-images-{os.getpid()}/store/images"
        listed = self.sandbox.node(node).exec(["find", folder, "-name", "*.zst", "-printf", "%p %s\\n"]).stdout
        return {path: int(size) for path, size in (line.split() for line in listed.splitlines())}

    def id(self, name: str, node: str | None = None) -> str:
        argv = ["docker", "image", "inspect", "--format", "{{.Id}}", name]
        if node is None:
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        return self.sandbox.node(node).exec(argv, user="bench").stdout.strip()


@pytest.fixture
def make_scene(sandbox, commands, cluster_variant, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = (f"timeeval-test/one-{os.getpid()}:1", f"timeeval-test/two-{os.getpid()}:1")
    state = f"/srv/timeeval/test-images-{os.getpid()}"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM timeeval-demo/base-plain:1\nCOPY main.py /app/\n")
        (tmp_path / name / "main.py").write_text(f"print('{name} {os.getpid()}')\n")

    def make(*, state: str = state, one: str = f'context = "{tmp_path}/one"') -> Scene:
        return Scene(
            cluster_variant(
                {
                    'state = "/srv/timeeval/state"': f'state = "{state}"',
                    'name = "timeeval-demo/subsequence-stats:1"': f'name = "{names[0]}"',
                    'context = "../examples/algorithms/subsequence-stats"': one,
                    'name = "timeeval-demo/ar-forecast:1"': f'name = "{names[1]}"',
                    'context = "../examples/algorithms/ar-forecast"': f'context = "{tmp_path}/two"',
                }
            ),
            tmp_path,
            names,
            sandbox,
            commands,
        )

    yield make
    sandbox.heal()
    for node in sandbox.nodes:
        node.exec(["docker", "image", "rm", "--force", *names], check=False)
        node.exec(["rm", "-rf", state, f"{FULL}/state"])
    subprocess.run(["docker", "image", "rm", "--force", *names], capture_output=True, check=False)


@pytest.fixture
def scene(make_scene):
    return make_scene()


def states(rows):
    return {name: row["state"] for name, row in rows.items()}


def test_all_nodes_get_the_same_images_and_a_second_run_changes_nothing(scene):
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    ids = [scene.id(name) for name in scene.names]
    for node in NODES:
        assert [scene.id(name, node) for name in scene.names] == ids
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_OK), rows
    # a new checkout has other times, and builds nothing
    for file in scene.contexts.glob("*/main.py"):
        os.utime(file, (1, 1))
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_OK), rows
    assert [scene.id(name) for name in scene.names] == ids


def test_only_what_changed_is_loaded(scene):
    scene.push()
    first, second = (scene.id(name) for name in scene.names)
    (scene.contexts / "one" / "main.py").write_text("print('changed')\n")
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    assert rows["node1"]["made"][0]["title"] == f"load 1 images, 1 of them in place of others: {scene.names[0]}"
    assert scene.id(scene.names[0], "node3") == scene.id(scene.names[0])
    assert scene.id(scene.names[1], "node3") == second
    everything = ["docker", "image", "ls", "--all", "--quiet", "--no-trunc"]
    assert first not in scene.sandbox.node("node3").exec(everything).stdout


def test_an_image_that_somebody_retagged_is_noticed_and_mended(scene):
    scene.push()
    node = scene.sandbox.node("node2")
    node.exec(["docker", "tag", scene.names[1], scene.names[0]])
    code, rows = scene.push()
    assert (code, states(rows)) == (0, {**ALL_OK, "node2": "changed"}), rows
    assert scene.id(scene.names[0], "node2") == scene.id(scene.names[0])
    node.exec(["docker", "image", "rm", "--force", scene.id(scene.names[0])])
    code, rows = scene.push()
    assert (code, states(rows)) == (0, {**ALL_OK, "node2": "changed"}), rows
    assert scene.id(scene.names[0], "node2") == scene.id(scene.names[0])


def test_an_update_is_a_patch_and_what_cannot_be_applied_comes_whole(scene):
    content = random.Random(os.getpid()).randbytes(200_000)
    dockerfile = scene.contexts / "one" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "COPY data /app/\n")
    (scene.contexts / "one" / "data").write_bytes(content)
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows

    (scene.contexts / "one" / "data").write_bytes(content[:-1] + b"x")
    store = scene.store("node2")
    damaged = [path for path, size in store.items() if 200_000 < size < 210_000]
    scene.sandbox.node("node2").exec(
        ["dd", "if=/dev/zero", f"of={damaged[0]}", "bs=1", "seek=9", "count=9", "conv=notrunc"]
    )
    code, rows = scene.push()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    titles = {name: [made["title"] for made in row["made"]] for name, row in rows.items()}
    assert [len(titles[name]) for name in NODES] == [1, 2, 1], titles
    assert "with all layers" in titles["node2"][1]
    assert [scene.id(scene.names[0], name) for name in NODES] == [scene.id(scene.names[0])] * 3
    patches = list((scene.contexts / "cache").rglob("*.from-*.zst"))
    assert [patch.stat().st_size < 1000 for patch in patches] == [True]

    # and the next update finds on every node what it can be made against
    (scene.contexts / "one" / "data").write_bytes(content[:-2] + b"yz")
    code, rows = scene.push()
    assert (code, [len(row["made"]) for row in rows.values()]) == (0, [1, 1, 1]), rows
    assert len(list((scene.contexts / "cache").rglob("*.from-*.zst"))) > len(patches)
    assert [scene.id(scene.names[0], name) for name in NODES] == [scene.id(scene.names[0])] * 3


def test_layers_that_are_gone_since_they_were_seen_are_noted_and_brought(scene):
    cluster = load(scene.file)
    images = ensure(cluster.images)
    one = images[scene.names[0]]
    store = LayerStore()
    export([one], [], store)
    document = {"name": one.name, "config": store.config(one.id), "layers": list(one.layers)}
    arguments = {
        "store": str(cluster.state / "store" / "images"),
        "ledger": ledger(cluster.nodes[0]),
        "load": {"images": [document], "pieces": [], "whole": False},
        "images": {one.name: one.wanted()},
        "tag": {},
        "most": 1 << 30,
    }
    scene.sandbox.node("node1").exec(["mkdir", "-p", arguments["store"]], user="bench")
    with contextlib.closing(open_session(cluster, cluster.nodes[0])) as session:
        answer = session.call("provisioning.node.settle_images", arguments)
    assert answer["again"] == [one.name]
    code, rows = scene.push("--limit", "node1")
    assert (code, states(rows)) == (0, {"node1": "changed"}), rows
    assert "is not here any more" in rows["node1"]["made"][0]["title"]
    assert scene.id(one.name, "node1") == one.id


def test_a_node_that_is_down_is_named_and_the_others_finish(scene):
    with scene.sandbox.off("node1"):
        code, rows = scene.push()
    assert (code, states(rows)) == (8, {**ALL_CHANGED, "node1": "unreachable"})


def test_a_full_disk_is_found_before_anything_is_sent(make_scene):
    scene = make_scene(state=f"{FULL}/state")
    scene.sandbox.node("node3").fill_disk(FULL)
    code, rows = scene.push("--limit", "node3")
    assert (code, states(rows)) == (4, {"node3": "failed"})
    assert "have to fit on the file system of the state folder" in rows["node3"]["findings"][0]["message"]


def test_an_image_that_is_nowhere_is_named_and_nothing_is_changed(make_scene):
    scene = make_scene(one="")
    done = scene.commands.run("timeeval-provision", "push-images", "--cluster", scene.file, "--json")
    assert done.returncode != 0
    assert "has no image timeeval-test/one" in done.stdout + done.stderr


def test_an_engine_that_does_not_answer_is_a_finding(scene):
    node = scene.sandbox.node("node2")
    socket = "/var/run/docker.sock"
    node.exec(["chmod", "000", socket])
    try:
        code, rows = scene.push()
    finally:
        node.exec(["chmod", "660", socket])
    assert (code, states(rows)) == (4, {**ALL_CHANGED, "node2": "failed"})
    finding = rows["node2"]["findings"][0]
    assert "no Docker engine is reached" in finding["message"]
    assert "group docker" in finding["remedy"]
