"""How an environment is built on a node: by uv or by pip, with byte code that came along."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from environment_lab import MINOR, Lab
from wheelwright import make_wheel

from provisioning.errors import LockedError, NodeError
from provisioning.launch import open_session
from provisioning.locks import beside, hold
from provisioning.node import bytecode, installers, venvs
from provisioning.node.tools import RefusedError
from provisioning.plan import Job, run
from provisioning.resources.environment import EnvironmentResource
from provisioning.resources.environment.bytecode import bundles
from provisioning.resources.environment.wheels import Wheel, keep, wheel_store
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


def test_a_wheel_is_compiled_once(tmp_path):
    made = make_wheel(tmp_path, "small", "1.0")
    wheel = Wheel(wheel_store(), keep(made, wheel_store()))
    first = bundles([wheel], wheel_store())
    before = (wheel_store() / first[0].path).stat()
    assert bundles([wheel], wheel_store()) == first
    assert (wheel_store() / first[0].path).stat().st_mtime_ns == before.st_mtime_ns
    (wheel_store() / first[0].path).unlink()
    assert [entry.path.split("/")[1] for entry in bundles([wheel], wheel_store())] == [first[0].path.split("/")[1]]


def test_only_what_compiles_and_lies_in_site_packages_is_compiled(tmp_path):
    files = {
        "small/good.py": b"x = 1\n",
        "small/template.py": b"{{ name }} = \n",
        "small/nul.py": b"\0",
        "small-1.0.data/purelib/extra.py": b"y = 1\n",
        "small-1.0.data/scripts/tool.py": b"z = 1\n",
        "small-1.0.data/data/share/example.py": b"z = 1\n",
    }
    bytecode.pack(make_wheel(tmp_path, "small", "1.0", files), tmp_path / "out.zip")
    site = tmp_path / "site"
    (site / "small").mkdir(parents=True)
    (site / "small" / "good.py").write_bytes(b"x = 1\n")
    (site / "extra.py").write_bytes(b"edited = 1\n")
    bytecode.place(bytecode.lay_out([tmp_path / "out.zip"], tmp_path / "laid"), tmp_path / "laid", site)
    tag = sys.implementation.cache_tag
    assert [path.name for path in site.rglob("*.pyc")] == [f"good.{tag}.pyc"]
    assert bytecode.magic_of(tmp_path / "out.zip") == importlib.util.MAGIC_NUMBER.hex()


def test_byte_code_of_another_interpreter_is_not_used(lab):
    lab.look()
    (wheel,) = wheel_store().glob("*/dep-1.0-*.whl")
    with pytest.MonkeyPatch.context() as other:
        other.setattr(importlib.util, "MAGIC_NUMBER", b"\x00\x00\r\n")
        bytecode.pack(wheel, wheel_store() / "strange.zip")
    entry = keep(wheel_store() / "strange.zip", wheel_store())
    target = Path(lab.cluster.state) / "store" / "wheels" / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(wheel_store() / entry.path)
    lab.make(lambda house: dataclasses.replace(house, bytecode=(entry.path,)))
    assert "pyc matches" in imported(lab, "dep")


def test_byte_code_of_several_wheels_meets_in_one_folder(tmp_path):
    site = tmp_path / "site"
    (site / "__pycache__").mkdir(parents=True)
    for name in ("one", "two"):
        made = make_wheel(tmp_path, name, "1.0", {f"{name}.py": b"x = 1\n", f"shared/{name}.py": b"x = 1\n"})
        bytecode.pack(made, tmp_path / f"{name}.zip")
        (site / "shared").mkdir(exist_ok=True)
        for file in (site / f"{name}.py", site / "shared" / f"{name}.py"):
            file.write_bytes(b"x = 1\n")
    laid = bytecode.lay_out([tmp_path / "one.zip", tmp_path / "two.zip"], tmp_path / "laid")
    bytecode.place(laid, tmp_path / "laid", site)
    assert stale(site) == []
    assert len(list(site.rglob("*.pyc"))) == 4


# --- where uv does not start ----------------------------------------------------------------------------------------


def without_uv(house):
    """Let an archive stand where uv is expected: the kernel starts no such thing."""
    return dataclasses.replace(house, uv=house.pip)


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


def test_pip_installs_what_uv_would(lab):
    lab.make(without_uv)
    assert venvs.read_marker(lab.prefix)["installer"] == "pip"
    observed, _, difference = lab.look()
    assert difference.empty
    assert venvs.look(lab.prefix, deep=True)["edited"] == []
    assert observed["environment"]["python"].startswith(MINOR)
    assert stale(lab.packages()) == []
    script = lab.prefix / "bin" / "dep-say"
    assert script.read_text().startswith(f"#!{lab.prefix}/bin/python")
    assert b"'str' object is not callable" in subprocess.run([script], capture_output=True, check=False).stderr
    assert "staging" not in (lab.prefix / "bin" / "activate").read_text()


def test_pip_refuses_a_wheel_of_other_bytes(lab):
    def other_hash(house):
        return dataclasses.replace(without_uv(house), lock=house.lock.replace("sha256:", "sha256:00")[:-3] + "\n")

    with pytest.raises(NodeError, match=r"(?i)hash"):
        lab.make(other_hash)
    assert not lab.prefix.exists()


def test_without_uv_and_venv_the_package_to_install_is_named(lab, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$3" = venv ] && {{ echo \'No module named venv\' >&2; exit 1; }}\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    pip = installers.Pip(tmp_path / "pip", lab.prefix)
    with pytest.raises(RefusedError, match=r"uv does not start here, and .* has no module venv") as refused:
        pip.install(str(python), tmp_path / "fresh", tmp_path, tmp_path / "lock", lambda: None)
    assert refused.value.remedy == "install the package python3-venv"


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"#!/lib/ld-none.so\n", 0o755, "another C library"),
        (b"\x7fELF", 0o755, "another architecture"),
        (b"#!/bin/sh\necho no such glibc >&2; exit 1\n", 0o755, "no such glibc"),
        (b"#!/bin/sh\nexit 3\n", 0o755, "status 3"),
        (b"#!/bin/sh\n", 0o755, ""),
    ],
)
def test_why_a_program_does_not_start_is_said(tmp_path, content, mode, why):
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(mode)
    assert why in installers.why_not(program)
    assert bool(why) == bool(installers.why_not(program))
