"""Two small images and a cluster file that names them, for the tests that push them."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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

    @property
    def state(self) -> str:
        """The state folder of these tests on every node."""
        return f"/srv/timeeval/test-images-{os.getpid()}"

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

    def make(*, state: str = state, one: str = f'context = "{tmp_path}/one"', push: str = "") -> Scene:
        return Scene(
            cluster_variant(
                {
                    'state = "/srv/timeeval/state"': f'state = "{state}"',
                    'name = "timeeval-demo/subsequence-stats:1"': f'name = "{names[0]}"',
                    'context = "../examples/algorithms/subsequence-stats"': one,
                    'name = "timeeval-demo/ar-forecast:1"': f'name = "{names[1]}"',
                    'context = "../examples/algorithms/ar-forecast"': f'context = "{tmp_path}/two"',
                },
                append=push,
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


def states(rows):
    return {name: row["state"] for name, row in rows.items()}
