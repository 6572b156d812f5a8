"""An interpreter that travels: packed on the driver, unpacked beside the environment that is made with it."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from environment_lab import MINOR, Lab

from provisioning.errors import UsageError
from provisioning.node import bases
from provisioning.node.tools import RefusedError
from provisioning.resources.environment import standalone
from provisioning.resources.environment.wheels import wheel_store

LEFT_OUT = (
    "site-packages",
    "dist-packages",
    "test",
    "idlelib",
    "tkinter",
    "ensurepip",
    "config-*",
    "*.a",
    "lib2to3",
    "*.opt-*.pyc",
)


def make_standalone(folder: Path) -> Path:
    """Copy this interpreter to another place, where it finds its library by itself."""
    program = Path(os.path.realpath(sys._base_executable))
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(program, folder / "bin" / f"python{MINOR}")
    (folder / "bin" / "python3").symlink_to(f"python{MINOR}")
    library = Path(os.__file__).parent
    shutil.copytree(library, folder / "lib" / f"python{MINOR}", ignore=shutil.ignore_patterns(*LEFT_OUT))
    for shared in Path(sys.base_prefix, "lib").glob(f"libpython{MINOR}*.so*"):
        shutil.copy2(shared, folder / "lib" / shared.name)
    (folder / "lib" / f"python{MINOR}" / "twice.py").hardlink_to(folder / "lib" / f"python{MINOR}" / "this.py")
    (folder / "lib" / f"python{MINOR}" / "outside.py").symlink_to(Path(os.__file__))
    return folder


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    return make_standalone(tmp_path_factory.mktemp("standalone") / "python")


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
def lab(tmp_path, interpreter):
    lab = Lab(tmp_path)
    lab.fields = {"python_from": interpreter}
    return lab


def homes(lab: Lab) -> list[Path]:
    return sorted(lab.prefix.parent.glob("demo.python-*"))


def test_a_node_without_that_python_gets_it(lab, interpreter):
    assert not lab.look(interpreter=None)[2].blocked
    lab.make()
    (home,) = homes(lab)
    ask = "import sys, json, hashlib, dep; print(sys.base_prefix)"
    answer = subprocess.run(
        [lab.prefix / "bin" / "python", "-I", "-c", ask], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == str(home)
    assert lab.look()[2].empty
    assert lab.look()[0]["environment"]["python"] == platform.python_version()
    assert (home / "bin" / "python3").is_symlink()
    lab.publish("2.0")
    before = home.stat().st_ino
    lab.make()
    assert home.stat().st_ino == before
    assert (
        "it runs Python 3.0.1, not"
        in lab.look(environment={**lab.look()[0]["environment"], "python": "3.0.1"})[2].changes[0].title
    )


def test_interpreters_that_nothing_uses_any_more_go(lab):
    lab.make()
    strange = lab.prefix.with_name("demo.python-0000000000000000")
    strange.mkdir()
    bases.forget(lab.prefix)
    assert not strange.exists()
    assert len(homes(lab)) == 1
    lab.prefix.rename(lab.prefix.with_name("demo.previous"))
    bases.forget(lab.prefix)
    assert len(homes(lab)) == 1
    shutil.rmtree(lab.prefix.with_name("demo.previous"))
    bases.forget(lab.prefix)
    assert homes(lab) == []


def test_a_node_of_another_kind_is_named(lab):
    finding = lab.look(machine="aarch64")[2].findings[0]
    assert "does not run on aarch64 with glibc" in finding.message


def test_it_is_packed_once(interpreter):
    first = standalone.read(interpreter, MINOR, wheel_store())
    before = (wheel_store() / first.archive.path).stat().st_mtime_ns
    assert standalone.read(interpreter, MINOR, wheel_store()) == first
    assert (wheel_store() / first.archive.path).stat().st_mtime_ns == before
    with tarfile.open(wheel_store() / first.archive.path) as packed:
        names = packed.getnames()
        odd = [packed.getmember(f"lib/python{MINOR}/{name}.py") for name in ("this", "twice", "outside")]
    assert all(info.isreg() and info.size for info in odd)
    assert {f"bin/python{MINOR}", "bin/python3", f"lib/python{MINOR}/os.py"} <= set(names)
    assert not [name for name in names if "site-packages" in name or name.endswith(".a")]


def test_what_is_no_standalone_interpreter_is_refused(tmp_path, lab):
    with pytest.raises(UsageError, match=r"there is no .*bin/python") as refused:
        standalone.read(tmp_path, MINOR, wheel_store())
    assert "python-build-standalone" in refused.value.remedy
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    with pytest.raises(UsageError, match="is an environment of"):
        standalone.read(tmp_path / "venv", MINOR, wheel_store())
    program = tmp_path / "bin" / f"python{MINOR}"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match="does not run on this machine"):
        standalone.read(tmp_path, MINOR, wheel_store())
    program.write_text(f'#!/bin/sh\nexec {sys._base_executable} "$@"\n')
    with pytest.raises(UsageError, match="looks for its library in"):
        standalone.read(tmp_path, MINOR, wheel_store())


def archive_of(folder: Path, name: str, **fields) -> Path:
    """Return an archive in a store with one odd member."""
    archive = folder / "store" / ("a" * 16) / "python.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as packed:
        info = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(info, key, value)
        packed.addfile(info)
    return archive


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../evil", {}),
        ("/evil", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "../../evil"}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/evil"}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_an_archive_writes_nowhere_else(tmp_path, name, fields):
    archive = archive_of(tmp_path, name, **fields)
    with pytest.raises(ValueError, match=r"leaves its folder|neither a file nor a link"):
        bases._unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_one_that_does_not_run_there_changes_nothing(lab, tmp_path):
    archive = archive_of(tmp_path, f"bin/python{MINOR}", mode=0o755)
    args = {"python": MINOR, "store": str(tmp_path / "store"), "base": ["a" * 16 + "/" + archive.name, 1, ""]}
    (tmp_path / "staging").mkdir()
    with pytest.raises(RefusedError, match="the interpreter that came along does not run here"):
        bases.base(args, lab.prefix, tmp_path / "staging", lambda: None)
    assert homes(lab) == []


def test_without_it_a_node_that_lacks_python_is_told_of_it(lab):
    lab.fields = {}
    finding = lab.look(interpreter=None)[2].findings[0]
    assert f"there is no Python {MINOR}" in finding.message
    assert 'python_from = "FOLDER"' in finding.remedy
