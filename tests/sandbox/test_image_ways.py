"""The other ways of images to real nodes: built there, pulled from a registry, pulled from one of our own."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from image_scene import ALL_CHANGED, ALL_OK, NODES, make_scene, states
from practice import EXPERIMENTS, folder_of, rows, unpacked, wait_until

__all__ = ["make_scene"]

OWN = "/usr/local/bin/docker-registry"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """Debian's docker-registry, taken out of its package."""
    return unpacked("docker-registry", tmp_path_factory.mktemp("registry")) / "usr" / "bin" / "docker-registry"


@pytest.fixture
def own_registry(program, sandbox):
    """Let node1, the scheduler's host, have a registry's program."""
    node = sandbox.node("node1")
    subprocess.run(["docker", "cp", str(program), f"{node.container}:{OWN}"], check=True, capture_output=True)
    yield node
    node.exec(["pkill", "-f", OWN], check=False)
    node.exec(["rm", "-f", OWN])


def left(scene, node) -> str:
    """What a registry of ours leaves on its host: processes, files, ports."""
    state = f"/srv/timeeval/test-images-{os.getpid()}/registry"
    script = (
        f"pgrep -fa 'docker-registry serve' | grep -v pgrep; ls {state} 2>/dev/null; ss -Hltn 'src 127.0.0.1'; true"
    )
    return node.exec(["sh", "-c", script]).stdout.strip()


def names_on(scene, node: str) -> str:
    return scene.sandbox.node(node).exec(["docker", "image", "ls", "--format", "{{.Repository}}"]).stdout


def test_a_registry_of_our_own_serves_all_nodes_and_is_gone_whatever_happens(make_scene, own_registry, commands):
    scene = make_scene()
    assert left(scene, own_registry) == ""
    argv = ["push-images", "--cluster", scene.file, "--via", "own-registry", "--json"]
    driver = commands.start("timeeval-provision", *argv)
    wait_until(lambda: "serve" in left(scene, own_registry) or driver.poll() is not None, 120, "a registry")
    commands.kill(driver)
    wait_until(lambda: left(scene, own_registry) == "", 60, "the end of the registry")

    code, found = scene.push("--via", "own-registry")
    assert (code, states(found)) == (0, ALL_CHANGED), found
    assert {row["made"][0]["title"].partition(":")[0] for row in found.values()} == {
        "pull 2 images from a registry of our own"
    }
    ids = [scene.id(name) for name in scene.names]
    for node in NODES:
        assert [scene.id(name, node) for name in scene.names] == ids
        assert "localhost" not in names_on(scene, node)
    assert left(scene, own_registry) == ""
    code, found = scene.push("--via", "own-registry")
    assert (code, states(found)) == (0, ALL_OK), found


def test_without_a_registrys_program_it_says_so_and_changes_nothing(make_scene):
    scene = make_scene()
    done = scene.commands.run("timeeval-provision", "push-images", "--cluster", scene.file, "--via", "own-registry")
    assert done.returncode == 4
    assert "no registry can be started: there is no docker-registry" in done.stdout + done.stderr
    assert "apt-get install docker-registry" in done.stdout + done.stderr


def test_an_engine_with_a_loopback_of_its_own_is_refused_with_the_reason(make_scene, own_registry):
    scene = make_scene()
    node = scene.sandbox.node("node2")
    node.stop_engine()
    start = "rm -rf /run/docker.pid /run/docker; exec setsid unshare --net dockerd --storage-driver=overlay2"
    node.exec(["sh", "-c", f"({start} --bridge=none) >>/var/log/dockerd.log 2>&1 </dev/null &"])
    try:
        wait_until(lambda: node.exec(["docker", "info"], check=False).returncode == 0, 90, "the engine's answer")
        code, found = scene.push("--via", "own-registry", "--limit", "node2,node3")
    finally:
        node.stop_engine()
        node.start_engine()
        wait_until(lambda: node.exec(["docker", "info"], check=False).returncode == 0, 90, "the engine's answer")
    assert (code, states(found)) == (4, {"node2": "failed", "node3": "changed"}), found
    assert "does not share this host's loopback" in json.dumps(found["node2"])


@pytest.fixture
def registry(program, sandbox, tmp_path):
    """A registry that is there, under one name on this machine and all nodes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.yml").write_text(
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
                "http": {"addr": f"127.0.0.1:{port}", "secret": "of a test"},
            }
        )
    )
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        commands = [[str(program), "serve", str(tmp_path / "config.yml")]]
        forward = [
            "-o",
            "ClearAllForwardings=no",
            "-o",
            "ExitOnForwardFailure=yes",
            "-N",
            "-R",
            f"{port}:localhost:{port}",
        ]
        commands += [["ssh", "-F", str(sandbox.folder / "ssh_config"), *forward, node] for node in NODES]
        for command in commands:
            process = stack.enter_context(subprocess.Popen(command, **quiet))
            stack.callback(process.terminate)
        check = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        for node in sandbox.nodes:
            wait_until(lambda node=node: node.exec(["bash", "-c", check], check=False).returncode == 0, 60, "a way")
        yield f"localhost:{port}"


def test_nodes_pull_by_digest_from_a_registry_that_is_there(make_scene, registry):
    scene = make_scene()
    code, found = scene.push("--via", "registry", registry)
    assert (code, states(found)) == (0, ALL_CHANGED), found
    ids = [scene.id(name) for name in scene.names]
    for node in NODES:
        assert [scene.id(name, node) for name in scene.names] == ids
        assert "localhost" not in names_on(scene, node)
    code, found = scene.push("--via", "registry", "localhost:1")  # nothing is due, so nobody is asked
    assert (code, states(found)) == (0, ALL_OK), found


def test_a_registry_that_does_not_answer_is_named_and_nothing_is_changed(make_scene):
    scene = make_scene()
    done = scene.commands.run(
        "timeeval-provision", "push-images", "--cluster", scene.file, "--via", "registry", "localhost:1"
    )
    assert done.returncode != 0
    assert "cannot be pushed to localhost:1" in done.stdout + done.stderr
    assert scene.sandbox.node("node1").exec(["docker", "image", "ls", "-q", scene.names[0]]).stdout == ""


def test_images_that_nodes_build_run_by_their_own_ids_and_are_called_what_they_are(
    make_scene, provisioned, commands, results
):
    del provisioned
    scene = make_scene(state="/srv/timeeval/state", push='\n[push]\nvia = "build"\nby_context = true\n')
    algorithm = Path(__file__).parents[2] / "examples" / "algorithms" / "subsequence-stats"
    for file in algorithm.iterdir():
        (scene.contexts / "one" / file.name).write_bytes(file.read_bytes())
    chosen = ["--limit", "node1,node2"]
    up = commands.run("timeeval-provision", "up", "--cluster", scene.file, *chosen, "--json", seconds=250)
    assert up.returncode == 0, up.stdout + up.stderr
    assert "equal by context, not by content" in up.stdout
    one = scene.names[0]
    ids = {node: scene.id(one, node) for node in ("node1", "node2")}
    assert len(set(ids.values())) == 2, "a build notes its time"
    status = commands.run("timeeval-provision", "status", "--cluster", scene.file, *chosen).stdout
    assert f"{one} built there (equal by context, not by content)" in status
    again = commands.run("timeeval-provision", "push-images", "--cluster", scene.file, *chosen, "--json").stdout
    assert [json.loads(line)["state"] for line in again.splitlines()] == ["ok", "ok"]

    script = [EXPERIMENTS / "containers.py", "--cluster", scene.file, *chosen, "--results", results]
    run = commands.run("timeeval-run", *script, "--", "4", one.partition(":")[0], seconds=200)
    assert run.returncode == 0, run.stdout + run.stderr
    folder = folder_of(results)
    assert {row["outcome"] for row in rows(commands, folder)} == {"ok"}
    (ran,) = json.loads((folder / "run.json").read_text(encoding="utf-8"))["runs"]
    assert ran["proof"]["image_equality"] == {one: "equal by context, not by content"}
    shown = commands.run("timeeval-results", "show", folder).stdout
    assert "equal by context, not by content" in shown

    weaker = scene.file.with_name(f"weaker-{os.getpid()}.toml")
    weaker.write_text(scene.file.read_text().replace('via = "build"\nby_context = true', ""))
    try:
        refused = commands.run(
            "timeeval-run", script[0], "--cluster", weaker, *script[3:], "--", "1", one.partition(":")[0]
        )
        pushing = commands.run("timeeval-provision", "push-images", "--cluster", weaker, "--via", "build")
    finally:
        weaker.unlink()
    assert refused.returncode == 16, refused.stdout + refused.stderr
    assert "does not allow that" in refused.stdout + refused.stderr
    assert pushing.returncode == 2
    assert "by_context = true under [push]" in pushing.stdout + pushing.stderr
