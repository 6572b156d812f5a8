"""How an environment is built on a node from packs: what is written, with byte code that came along."""

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from activation import script
from environment_lab import MINOR, Lab

from provisioning.errors import LockedError, NodeError
from provisioning.launch import open_session
from provisioning.locks import beside, hold
from provisioning.node import codec, observe_environment, venvs
from provisioning.node.codec import ZLIB
from provisioning.plan import Job, run
from provisioning.resources.base import Task
from provisioning.resources.environment import EnvironmentResource
from provisioning.resources.environment.packing import Writer
from provisioning.resources.environment.wheels import keep, wheel_store
from provisioning.transfer.fanout import Fanout


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def imported(lab: Lab, module: str) -> str:
    """Return what Python says of importing a module, with the byte code that it took."""
    command = [str(lab.prefix / "bin" / "python"), "-I", "-B", "-v", "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def stale(folder: Path) -> list[str]:
    """Return the sources below a folder whose byte code Python would not take."""
    wrong = []
    for source in folder.rglob("*.py"):
        head = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:16]
        status = source.stat()
        if head[8:] != int(status.st_mtime).to_bytes(4, "little") + status.st_size.to_bytes(4, "little"):
            wrong.append(source.name)
    return wrong


# --- byte code ------------------------------------------------------------------------------------------------------


def test_byte_code_that_came_along_is_what_python_takes(lab):
    lab.make()
    assert stale(lab.packages()) == []
    said = imported(lab, "dep, pkg")
    for package in ("dep", "pkg"):
        assert f"{package}/__pycache__/__init__.cpython-{MINOR.replace('.', '')}.pyc matches" in said


def test_a_source_that_is_edited_later_is_what_runs(lab):
    lab.make()
    (lab.packages() / "pkg" / "__init__.py").write_text("answer = 4 * 11\n")
    command = [str(lab.prefix / "bin" / "python"), "-I", "-B", "-c", "import pkg; print(pkg.answer)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "44\n"


def test_byte_code_of_another_interpreter_is_not_used(lab, monkeypatch):
    monkeypatch.setattr(observe_environment, "MAGIC_NUMBER", b"\x00\x00\r\n")

    def alter(house):
        strange = Path(lab.root, "strange.pack")
        with Writer(strange, ZLIB) as writer:
            writer.add(f"lib/python{MINOR}/site-packages/dep/__pycache__/strange.pyc", [b"strange"])
            writer.finish("00000d0a")
        entry = keep(strange, wheel_store())
        target = Path(lab.cluster.state) / "store" / "wheels" / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(wheel_store() / entry.path)
        first = dataclasses.replace(house.packs[0], code=entry)
        return dataclasses.replace(house, packs=(first, *house.packs[1:]))

    events = lab.make(alter)
    assert "byte code" in [event["title"] for event in events]
    assert "pyc matches" in imported(lab, "dep")
    assert not (lab.packages() / "dep" / "__pycache__" / "strange.pyc").exists()
    assert venvs.read_marker(lab.prefix)["compiled"] is True


# --- what is written ------------------------------------------------------------------------------------------------


def test_the_environment_is_one_as_venv_makes_it(lab):
    lab.make()
    python = str(lab.prefix / "bin" / "python")
    ask = "import json, site, sys; print(json.dumps([sys.prefix, sys.base_prefix, site.getsitepackages(), sys.path]))"
    prefix, base, sites, path = json.loads(subprocess.check_output([python, "-I", "-c", ask]))
    program = observe_environment.interpreter(MINOR)["path"]
    subprocess.run([program, "-m", "venv", "--without-pip", lab.root / "like"], check=True)
    like = json.loads(subprocess.check_output([str(lab.root / "like" / "bin" / "python"), "-I", "-c", ask]))
    there = json.dumps([prefix, base, sites, path]).replace(str(lab.prefix), str(lab.root / "like"))
    assert json.loads(there) == like
    assert lab.look()[2].empty
    assert venvs.look(lab.prefix, deep=True)["edited"] == []


def test_a_program_runs_under_the_final_name_and_after_the_environment_got_another(lab):
    lab.publish("1.0", files={"dep/__init__.py": b"def version():\n    import sys\n    print(sys.prefix)\n"})
    lab.make()
    script = lab.prefix / "bin" / "dep-say"
    assert subprocess.check_output([script], text=True).strip() == str(lab.prefix)
    moved = lab.prefix.rename(lab.prefix.with_name("a name with 'quotes' and blanks"))
    assert subprocess.check_output([moved / "bin" / "dep-say"], text=True).strip() == str(moved)
    (lab.root / "elsewhere").symlink_to(moved / "bin" / "dep-say")
    assert subprocess.check_output([lab.root / "elsewhere"], text=True).strip() == str(moved)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_person_activates_and_deactivates_it(lab, shell):
    lab.make()
    before = shutil.which("python3")
    said = subprocess.check_output([shell], input=script(shell, str(lab.prefix)), text=True)
    assert said.splitlines() == [str(lab.prefix / "bin" / "python3"), str(lab.prefix), before, "no"]


def test_a_machine_without_zstd_gets_packs_that_it_reads(lab):
    offers = [codec.ZLIB, codec.RAW]
    _, desired, difference = lab.look(codecs=offers)
    assert desired.houses["here"].codec == codec.ZLIB
    assert all(".zlib.pack" in path for path in difference.changes[0].detail["missing"])
    lab.make(lambda _: desired.houses["here"], codecs=offers)
    assert lab.look()[2].empty


@pytest.mark.parametrize("where", [0, 20, 0.5, -30, -1])
def test_a_pack_with_a_flipped_bit_is_named_and_sent_anew(lab, where):
    _, desired, difference = lab.look()
    victim = next(path for path in difference.changes[0].detail["missing"] if "/dep-1.0-" in path)
    for path in difference.changes[0].detail["missing"]:
        target = Path(lab.cluster.state, "store", "wheels", path)
        target.parent.mkdir(parents=True)
        content = bytearray((wheel_store() / path).read_bytes())
        if path == victim:
            place = int(len(content) * where) if where == 0.5 else where
            content[place] ^= 1
        target.write_bytes(content)
    with (
        open_session(lab.cluster, lab.node) as session,
        pytest.raises(NodeError, match=rf"1 files are missing or damaged in .*: {victim}; run it again"),
    ):
        lab.resource.settle(Task(session, lab.cluster, lab.node, difference, desired), lambda _: None)
    assert sorted(path.name for path in lab.prefix.parent.iterdir()) == []
    (again,) = lab.look()[2].changes
    assert list(again.detail["missing"]) == [victim]


def test_two_operators_make_one_environment_after_the_other(lab):
    def create():
        return run(Job(lab.cluster, (lab.node,), [EnvironmentResource()], Fanout()))

    prefix = lab.cluster.environment.prefix
    with open_session(lab.cluster, lab.node) as other, ExitStack() as stack:
        hold(stack, other, {str(prefix): beside(prefix)})
        report = create()
        assert report.exit_code() == LockedError.exit_code
        assert isinstance(report.nodes[0].error, LockedError)
        assert f"process {os.getpid()}" in str(report.nodes[0].error)
        assert not lab.prefix.exists()
    assert create().exit_code() == 0
    assert create().by_state() == {"ok": ["here"]}
