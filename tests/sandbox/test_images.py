"""`push-images` on real nodes: built once, sent where they lack, proven by identity."""

import contextlib
import os
import random
import subprocess

import pytest
from image_scene import ALL_CHANGED, ALL_OK, NODES, make_scene, states
from practice import wait_until

from provisioning.inventory import load
from provisioning.launch import open_session
from provisioning.locks import hold, within
from provisioning.resources.images.build import ensure, export
from provisioning.resources.images.loading import ledger
from provisioning.resources.images.packed import LayerStore
from provisioning.sandbox.layout import FULL

__all__ = ["make_scene"]


@pytest.fixture
def scene(make_scene):
    return make_scene()


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
        "tops": "tops.json",
        "kind": "classic",
    }
    scene.sandbox.node("node1").exec(["mkdir", "-p", arguments["store"]], user="bench")
    with contextlib.closing(open_session(cluster, cluster.nodes[0])) as session:
        answer = session.call("provisioning.node.settle_images", arguments)
    assert answer["again"] == [one.name]
    code, rows = scene.push("--limit", "node1")
    assert (code, states(rows)) == (0, {"node1": "changed"}), rows
    assert "is not here any more" in rows["node1"]["made"][0]["title"]
    assert scene.id(one.name, "node1") == one.id


def test_a_load_of_several_that_fails_midway_comes_whole_and_without_patch_where_no_zstd_is(scene):
    cluster = load(scene.file)
    images = [ensure(cluster.images)[name] for name in scene.names]
    store = LayerStore()
    export(images, [], store)
    node = scene.sandbox.node("node1")
    node.exec(["docker", "image", "rm", "--force", *scene.names], check=False)
    configs = [store.config(image.id) for image in images]
    wrong = configs[1].replace(images[1].layers[-1], f"sha256:{'0' * 64}")  # the engine has taken the first by then
    documents = [
        {"name": image.name, "config": config, "layers": list(image.layers)}
        for image, config in zip(images, (configs[0], wrong), strict=True)
    ]
    layers = list(dict.fromkeys(layer for image in images for layer in image.layers))
    export(images, layers, store)
    write = ["docker", "exec", "-i", "-u", "bench", node.container, "sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "-"]
    with open_session(cluster, cluster.nodes[0]) as session:
        folder = str(cluster.state / "store" / "images")
        pieces = []
        for layer in layers:
            entry = store.packed(layer, "zst")
            content = (store.folder / entry.path).read_bytes()
            subprocess.run([*write, f"{folder}/{entry.path}"], input=content, check=True)
            size = store.raw_size(layer)
            pieces.append({"layer": layer, "size": size, "form": "zst", "path": entry.path, "basis": None})
        arguments = {
            "store": folder,
            "ledger": ledger(cluster.nodes[0]),
            "load": {"images": documents, "pieces": pieces, "whole": False},
            "images": {image.name: image.wanted() for image in images},
            "tag": {},
            "most": 1 << 30,
            "tops": "tops.json",
            "kind": "classic",
        }
        answer = session.call("provisioning.node.settle_images", arguments)
    assert answer["again"] == [images[1].name]
    assert scene.id(images[0].name, "node1") == images[0].id
    zstd = "/usr/bin/zstd"
    node.exec(["mv", zstd, f"{zstd}.away"])
    try:
        code, rows = scene.push("--limit", "node1")
    finally:
        node.exec(["mv", f"{zstd}.away", zstd])
    assert (code, states(rows)) == (0, {"node1": "changed"}), rows
    assert "with all layers" in rows["node1"]["made"][0]["title"]
    assert scene.id(images[1].name, "node1") == images[1].id
    assert node.exec(["find", folder, "-name", "*.tar.gz"]).stdout


def test_a_node_that_is_down_is_named_and_the_others_finish(scene):
    with scene.sandbox.off("node1"):
        code, rows = scene.push()
    assert (code, states(rows)) == (8, {**ALL_CHANGED, "node1": "unreachable"})


@pytest.mark.parametrize("limit", [(), ("--limit", "node1")])
def test_two_operators_are_kept_apart(scene, limit):
    cluster = load(scene.file)
    folder = cluster.state / "store" / "images"
    with open_session(cluster, cluster.nodes[0]) as session, contextlib.ExitStack() as stack:
        hold(stack, session, {str(folder): within(folder)})
        code, rows = scene.push(*limit)
        assert code == 32, rows
        others = {} if limit else {"node2": "changed", "node3": "changed"}
        assert states(rows) == {"node1": "failed", **others}
        assert f"process {os.getpid()}" in rows["node1"]["error"]["message"]
    code, rows = scene.push()
    assert code == 0, rows
    assert [scene.id(name, "node1") for name in scene.names] == [scene.id(name) for name in scene.names]


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


def test_a_first_push_to_one_node_is_loaded_while_it_travels_and_a_second_run_goes_on_after_a_kill(scene):
    dockerfile = scene.contexts / "one" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "COPY data /app/\nRUN cp /app/main.py /app/other.py\n")
    (scene.contexts / "one" / "data").write_bytes(random.Random(os.getpid()).randbytes(40 << 20))
    node = scene.sandbox.node("node1")
    nameless = ["docker", "image", "ls", "--quiet", "--filter", "dangling=true"]
    before = node.exec(nameless).stdout.split()

    def coming() -> str:
        script = f"ls -d {scene.state}/store/images/.coming-*/layer 2>/dev/null; true"
        return node.exec(["sh", "-c", script]).stdout

    options = ["--cluster", scene.file, "--limit", "node1", "--json"]
    driver = scene.commands.start("timeeval-provision", "push-images", "--bwlimit", "4M", *options)
    wait_until(lambda: coming() != "" or driver.poll() is not None, 120, "a layer on its way")
    assert driver.poll() is None
    scene.commands.kill(driver)
    wait_until(lambda: coming() == "", 60, "the end of what was on its way")
    code, rows = scene.push("--limit", "node1")
    assert (code, states(rows)) == (0, {"node1": "changed"}), rows
    assert [scene.id(name, "node1") for name in scene.names] == [scene.id(name) for name in scene.names]
    assert node.exec(nameless).stdout.split() == before
    code, rows = scene.push("--limit", "node1")
    assert (code, states(rows)) == (0, {"node1": "ok"}), rows
