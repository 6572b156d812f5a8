"""A small environment for tests of `create-envs` on real nodes: one package of an index in a folder, one project."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioning.sandbox.layout import FULL

__all__ = ["NODES", "Scene", "make_scene", "states"]

NODES = ("node1", "node2", "node3")


@dataclass
class Scene:
    """A small environment of this test."""

    file: Path
    prefix: str
    project: Path
    sandbox: Any
    commands: Any
    base: str

    def create(self, *args: str, seconds: float = 200) -> tuple[int, dict[str, dict[str, Any]]]:
        done = self.commands.run(
            "timeeval-provision", "create-envs", "--cluster", self.file, "--json", *args, seconds=seconds
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows, done.stderr
        return done.returncode, {row["node"]: row for row in rows}

    def on(self, name: str, *argv: str) -> str:
        return self.sandbox.node(name).exec(argv, user="bench").stdout.strip()

    @contextlib.contextmanager
    def harmed(self, name: str, do: str, undo: str) -> Iterator[None]:
        """Run a shell script as root on a node, and another one afterwards, whatever happens."""
        self.sandbox.node(name).exec(["sh", "-ec", do])
        try:
            yield
        finally:
            self.sandbox.node(name).exec(["sh", "-ec", undo])


@pytest.fixture
def make_scene(sandbox, commands, cluster_variant, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "unit"))
    from wheelwright import hash_of, make_project, make_wheel

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()
    wheel = make_wheel(tmp_path / "index", "dep", "1.0")
    (tmp_path / "demo.lock").write_text(f"dep==1.0 --hash=sha256:{hash_of(wheel)}\n")
    project = make_project(tmp_path / "project", "mine", "1.0", ["dep>=1"])
    base = f"/srv/timeeval/test-env-{os.getpid()}"

    def make(prefix: str = f"{base}/demo", python: str = "3.11") -> Scene:
        file = cluster_variant(
            {
                'state = "/srv/timeeval/state"': f'state = "{base}/state"',
                'prefix = "/srv/timeeval/envs/demo"': f'prefix = "{prefix}"',
                'python = "3.11"': f'python = "{python}"',
                '"../requirements/runtime.lock"': f'"{tmp_path}/demo.lock"',
                'projects = [".."]': f'projects = ["{project}"]',
            }
        )
        return Scene(file, prefix, project, sandbox, commands, base)

    yield make
    sandbox.heal()
    for node in sandbox.nodes:
        node.exec(["rm", "-rf", base, f"{FULL}/envs"])


def states(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: row["state"] for name, row in rows.items()}
