"""What can stand in the way of an environment: one clear line, the right exit code, and nothing broken."""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from environment_scene import NODES, make_scene, states

__all__ = ["make_scene"]

ALL_CHANGED = dict.fromkeys(NODES, "changed")
ALL_OK = dict.fromkeys(NODES, "ok")
PYTHON = "/usr/lib/python3.11"
HIDE = f"mv {PYTHON}/venv {PYTHON}/venv.hidden; mv {PYTHON}/ensurepip {PYTHON}/ensurepip.hidden"
SHOW = f"mv {PYTHON}/venv.hidden {PYTHON}/venv; mv {PYTHON}/ensurepip.hidden {PYTHON}/ensurepip"
IMPORT = "import dep, pkg, sys; print(dep.version, pkg.answer, sys.prefix)"


@pytest.fixture
def scene(make_scene):
    return make_scene()


def mount(scene, options: str) -> tuple[str, str]:
    """Return how a file system is mounted where a scene keeps everything on a node, and how it is taken away."""
    return f"install -d -o bench {scene.base}; mount -t tmpfs -o {options} tmpfs {scene.base}", f"umount {scene.base}"


def messages(row) -> str:
    return " | ".join(
        [*(finding["message"] for finding in row["findings"]), str((row["error"] or {}).get("message", ""))]
    )


def test_a_read_only_prefix_is_found_before_anything_is_sent(scene):
    with scene.harmed("node2", *mount(scene, "ro")):
        code, rows = scene.create()
    assert (code, states(rows)) == (4, {**ALL_CHANGED, "node2": "failed"}), rows
    assert "cannot be written to" in messages(rows["node2"])


def test_a_prefix_that_is_a_link_is_left_alone(scene):
    make = f"install -d -o bench {scene.base} {scene.base}/else; ln -s {scene.base}/else {scene.prefix}"
    with scene.harmed("node1", make, f"rm -r {scene.base}/else"):
        code, rows = scene.create()
        assert (code, states(rows)) == (4, {**ALL_CHANGED, "node1": "failed"}), rows
        assert f"is a symbolic link to {scene.base}/else" in messages(rows["node1"])
        assert scene.on("node1", "ls", "-A", f"{scene.base}/else") == ""


def test_a_way_to_the_prefix_through_a_link_is_no_harm(make_scene):
    scene = make_scene()
    scene = make_scene(prefix=f"{scene.base}/way/demo")
    make = f"install -d -o bench {scene.base} {scene.base}/real; ln -s {scene.base}/real {scene.base}/way"
    with scene.harmed("node1", make, f"rm {scene.base}/way"):
        code, rows = scene.create()
        assert (code, states(rows)) == (0, ALL_CHANGED), rows
        assert scene.on("node1", f"{scene.prefix}/bin/python", "-I", "-c", IMPORT) == f"1.0 42 {scene.prefix}"


def test_neither_venv_nor_pip_nor_a_right_to_start_programs_is_needed(scene):
    with (
        scene.harmed("node3", HIDE, SHOW),
        scene.harmed("node1", HIDE, SHOW),
        scene.harmed("node1", *mount(scene, "noexec,size=300m,mode=777")),
    ):
        code, rows = scene.create()
        assert (code, states(rows)) == (0, ALL_CHANGED), rows
        for name in NODES:
            assert scene.on(name, f"{scene.prefix}/bin/python", "-I", "-c", IMPORT) == f"1.0 42 {scene.prefix}"
        code, rows = scene.create("--deep")
        assert (code, states(rows)) == (0, ALL_OK), rows


def test_back_to_the_environment_before(scene):
    def answers() -> set[str]:
        ask = "import pkg; print(pkg.answer)"
        return {scene.on(name, f"{scene.prefix}/bin/python", "-I", "-c", ask) for name in NODES}

    scene.create()
    code, rows = scene.create("--rollback")
    assert (code, states(rows)) == (4, dict.fromkeys(NODES, "failed"))
    (scene.project / "pkg" / "__init__.py").write_text("answer = 43\n")
    scene.create()
    assert answers() == {"43"}
    with scene.sandbox.off("node2"):
        code, rows = scene.create("--rollback")
    assert (code, states(rows)) == (8, {**ALL_CHANGED, "node2": "unreachable"}), rows
    code, rows = scene.create("--rollback", "--limit", "node2")
    assert (code, states(rows)) == (0, {"node2": "changed"}), rows
    assert answers() == {"42"}


def test_an_environment_that_others_made_is_only_looked_at(make_scene):
    def contents(name: str) -> str:
        script = f"cd {scene.prefix}; find . -printf '%p %s %T@ %l\\n' | sort; find . -type f | sort | xargs cat"
        return hashlib.sha256(
            scene.sandbox.node(name).exec(["sh", "-c", f"({script}) | sha256sum"]).stdout.encode()
        ).hexdigest()

    scene = make_scene()
    text = scene.file.read_text()
    scene.file.write_text(
        text.replace(f'prefix = "{scene.prefix}"', f'prefix = "{scene.prefix}"\nmanage = false').replace(
            f'projects = ["{scene.project}"]', "projects = []"
        )
    )
    lock = next(line for line in text.splitlines() if line.startswith("requirements ="))
    (Path(lock.split('"')[1])).write_text("dep==1.0\n")
    for name in NODES:
        scene.on(name, "python3", "-m", "venv", "--without-pip", scene.prefix)
        packages = f"{scene.prefix}/lib/python3.11/site-packages"
        script = (
            f"mkdir {packages}/dep {packages}/dep-1.0.dist-info && echo 'version = 1' > {packages}/dep/__init__.py && "
            f"printf 'Name: dep\\nVersion: 1.0\\n' > {packages}/dep-1.0.dist-info/METADATA && "
            f"echo 'dep/__init__.py,,' > {packages}/dep-1.0.dist-info/RECORD"
        )
        scene.on(name, "sh", "-c", script)
    before = {name: contents(name) for name in NODES}
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_OK), rows
    assert {name: contents(name) for name in NODES} == before
    scene.on("node3", "sh", "-c", f"echo 'version = 2' > {scene.prefix}/lib/python3.11/site-packages/dep/__init__.py")
    code, rows = scene.create()
    assert (code, states(rows)) == (4, {**ALL_OK, "node3": "failed"}), rows
    assert "differs from that of 2 of 3 nodes" in messages(rows["node3"])


def test_an_interpreter_that_travels_is_the_base_on_every_node(make_scene, tmp_path):
    scene = make_scene()
    folder = tmp_path / "python"
    names = "bin/python3.11 bin/python3 lib/python3.11"
    left_out = " ".join(f"--exclude={name}" for name in ("__pycache__", "test", "lib2to3", "pydoc_data", "config-*"))
    script = f"tar -C /usr -ch {left_out} {names} | gzip -1 | base64"
    packed = base64.b64decode(scene.sandbox.node("node1").exec(["sh", "-c", script]).stdout)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="tar")
    scene.file.write_text(scene.file.read_text().replace("[environment]", f'[environment]\npython_from = "{folder}"'))
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_CHANGED), messages(rows["node1"])
    ask = "import sys, platform; print(sys.base_prefix, platform.python_version())"
    (answer,) = {scene.on(name, f"{scene.prefix}/bin/python", "-I", "-c", ask) for name in NODES}
    assert answer.startswith(f"{scene.prefix}.python-")
    code, rows = scene.create()
    assert (code, states(rows)) == (0, ALL_OK), rows
