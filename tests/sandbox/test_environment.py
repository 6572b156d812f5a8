"""`create-envs` on real nodes: equal, proven, mended, and nothing broken when something stands in the way."""

import json
import sys
from pathlib import Path

import pytest
from activation import script
from environment_scene import NODES, make_scene, states

from provisioning.sandbox.layout import FULL

__all__ = ["make_scene"]


@pytest.fixture
def scene(make_scene):
    return make_scene()


ALL_CHANGED = dict.fromkeys(NODES, "changed")
ALL_OK = dict.fromkeys(NODES, "ok")


def test_all_nodes_get_equal_packages_and_a_second_run_changes_nothing(scene):
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    for name in NODES:
        ask = "import dep, pkg, sys; print(dep.version, pkg.answer, sys.prefix)"
        assert scene.on(name, f"{scene.prefix}/bin/python", "-I", "-c", ask) == f"1.0 42 {scene.prefix}"
        assert scene.on(name, "ls", f"{scene.prefix}/lib/python3.11/site-packages/dep/__pycache__")
    markers = {scene.on(name, "cat", f"{scene.prefix}/.timeeval/environment.json") for name in NODES}
    assert len({json.loads(marker)["identity"] for marker in markers}) == 1
    for shell in ("dash", "bash", "tcsh", "fish"):
        said = scene.sandbox.node("node1").exec([shell], user="bench", stdin=script(shell, scene.prefix)).stdout
        assert said.splitlines() == [f"{scene.prefix}/bin/python3", scene.prefix, "/usr/bin/python3", "no"], shell
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_OK), rows


def test_a_project_that_changes_is_installed_and_the_old_environment_kept(scene):
    scene.create()
    (scene.project / "pkg" / "__init__.py").write_text("answer = 43\n")
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_CHANGED), rows
    for name in NODES:
        assert scene.on(name, f"{scene.prefix}/bin/python", "-I", "-c", "import pkg; print(pkg.answer)") == "43"
        assert (
            scene.on(name, f"{scene.prefix}.previous/bin/python", "-I", "-c", "import pkg; print(pkg.answer)") == "42"
        )


def test_packages_edited_by_hand_are_noticed_and_mended(scene):
    scene.create()
    victim = f"{scene.prefix}/lib/python3.11/site-packages/dep/__init__.py"
    scene.on("node2", "sed", "-i", "s/1.0/6.6/", victim)
    code, rows = scene.create("--dry-run")
    assert states(rows) == {**ALL_OK, "node2": "due"}
    assert "dep/__init__.py was changed" in rows["node2"]["due"][0]["title"]
    code, rows = scene.create()
    assert (code, states(rows)) == (0, {**ALL_OK, "node2": "changed"}), rows
    assert "1.0" in scene.on("node2", "cat", victim)


def test_a_node_that_is_down_is_named_and_the_others_finish(scene):
    with scene.sandbox.off("node2"):
        code, rows = scene.create()
    assert (code, states(rows)) == (8, {**ALL_CHANGED, "node2": "unreachable"})
    code, rows = scene.create()
    assert (code, states(rows)) == (0, {**ALL_OK, "node2": "changed"})


def test_a_full_disk_is_found_before_anything_is_sent(make_scene):
    scene = make_scene(prefix=f"{FULL}/envs/demo")
    scene.sandbox.node("node3").fill_disk(FULL)
    code, rows = scene.create()
    assert (code, states(rows)) == (4, {**ALL_CHANGED, "node3": "failed"}), rows
    assert any("have to fit" in finding["message"] for finding in rows["node3"]["findings"])
    assert not scene.sandbox.node("node3").exec(["find", f"{FULL}/envs", "-type", "f"], check=False).stdout


def test_another_python_than_the_drivers_is_refused(make_scene):
    minor = f"{sys.version_info.major}.{sys.version_info.minor + 7}"
    scene = make_scene(python=minor)
    done = scene.commands.run("timeeval-provision", "create-envs", "--cluster", scene.file)
    assert done.returncode == 2, done.stdout
    assert f"is to have Python {minor}, the driver runs" in done.stdout
    assert not scene.sandbox.node("node1").exec(["find", str(Path(scene.prefix).parent)], check=False).stdout


def test_what_somebody_else_put_there_stays(scene):
    scene.on("node1", "mkdir", "-p", scene.prefix)
    scene.on("node1", "touch", f"{scene.prefix}/thesis.tex")
    code, rows = scene.create()
    assert (code, states(rows)) == (4, {**ALL_CHANGED, "node1": "failed"}), rows
    assert "was not made by create-envs" in rows["node1"]["findings"][0]["message"]
    assert scene.on("node1", "ls", scene.prefix) == "thesis.tex"


def test_an_installation_that_was_killed_is_done_again(scene):
    scene.create()
    scene.on("node1", "mkdir", "-p", f"{Path(scene.prefix).parent}/.demo.staging/demo/bin")
    scene.on("node1", "rm", "-r", f"{scene.prefix}/lib/python3.11/site-packages/dep")
    code, rows = scene.create()
    assert (code, states(rows)) == (0, {**ALL_OK, "node1": "changed"}), rows
    assert scene.on("node1", "ls", "-A", str(Path(scene.prefix).parent)).split() == [
        ".demo.timeeval-lock",
        "demo",
        "demo.previous",
        "state",
    ]
