"""Modules that belong to no project: wheels with the digest of their content, installed and proven like any other."""

import os
import subprocess

import pytest
from environment_lab import MINOR, Lab

from provisioning.errors import UsageError
from provisioning.inventory import load
from provisioning.node import venvs
from provisioning.resources.environment import loose

CLUSTER = """
[cluster]
name = "lab"
hosts = ["localhost"]
results = "/srv/results"
state = "/srv/state"
known_hosts = "known_hosts"

[environment]
prefix = "/srv/env"
python = "3.11"
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "helpers"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("from helpers.deep.more import answer\n")
    (folder / "deep" / "more.py").write_text("answer = 42\n")
    (folder / "a,b.txt").write_text("data beside the code\n")
    return folder


@pytest.fixture
def module(tmp_path):
    file = tmp_path / "detectors.py"
    file.write_text("import helpers\nanswer = helpers.answer\n")
    return file


def test_equal_content_gives_equal_bytes_wherever_it_lies(package, tmp_path, monkeypatch):
    first = loose.build(package)
    copy = tmp_path / "elsewhere" / "helpers"
    copy.parent.mkdir()
    subprocess.run(["cp", "-r", package, copy], check=True)
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "more.pyc").write_bytes(b"left by an import")
    os.utime(copy / "__init__.py", (1, 1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    second = loose.build(copy)
    assert second.store != first.store
    assert second.entry == first.entry
    (copy / "deep" / "more.py").write_text("answer = 43\n")
    changed = loose.build(copy)
    assert (changed.name, first.name) == ("local-helpers", "local-helpers")
    assert changed.version != first.version


def test_modules_are_installed_and_proven_like_packages(package, module, tmp_path):
    lab = Lab(tmp_path)
    lab.fields = {"requirements": (), "projects": (), "modules": (module, package)}
    lab.make()
    observed, _, difference = lab.look(deep=True)
    assert difference.empty
    assert {key.split("==")[0] for key in observed["environment"]["installed"]} == {"local-detectors", "local-helpers"}
    command = [lab.prefix / "bin" / "python", "-I", "-c", "import detectors; print(detectors.answer)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "42\n"
    victim = lab.prefix / "lib" / f"python{MINOR}" / "site-packages" / "detectors.py"
    victim.write_text("answer = 0\n")
    assert f"{victim.relative_to(lab.prefix)} was changed" in venvs.look(lab.prefix)["edited"]

    module.write_text("answer = 7\n")
    (change,) = lab.look()[2].changes
    assert "other packages are there: local-detectors" in change.title


def test_a_module_that_a_package_has_as_well_is_refused(tmp_path):
    lab = Lab(tmp_path)
    (tmp_path / "dep.py").write_text("version = 'mine'\n")
    lab.fields = {"projects": (), "modules": (tmp_path / "dep.py",)}
    with pytest.raises(UsageError, match=r"the module dep under \[environment\] modules is also in dep==1.0"):
        lab.look()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: (folder / "my-module.py").write_text(""), "'my-module' is no name in Python"),
        (lambda folder: ((folder / "empty").mkdir(), (folder / "empty" / "x.txt").write_text("")), "holds no module"),
        (
            lambda folder: ((folder / "p").mkdir(), (folder / "p" / "setup.py").write_text("")),
            "name it under projects",
        ),
        (
            lambda folder: (
                (folder / "c").mkdir(),
                (folder / "c" / "a.py").write_text(""),
                (folder / "c" / "b.so").write_text(""),
            ),
            "b.so is compiled for one kind of machine",
        ),
    ],
)
def test_what_is_no_module_is_refused_with_the_reason(tmp_path, make, why):
    folder = tmp_path / "given"
    folder.mkdir()
    make(folder)
    (place,) = folder.iterdir()
    with pytest.raises(UsageError, match=why):
        loose.build(place)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('modules = ["nowhere.py"]', "there is no module .*nowhere.py"),
        ('modules = ["known_hosts"]', "there is no module .*known_hosts"),
        ('modules = ["mine.py"]\nmanage = false', "nothing is written to an environment with manage = false"),
    ],
)
def test_a_cluster_file_names_modules(tmp_path, line, why):
    for name in ("known_hosts", "mine.py"):
        (tmp_path / name).write_text("")
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER + 'modules = ["mine.py"]\n')
    environment = load(file).environment
    assert environment is not None
    assert environment.modules == (tmp_path / "mine.py",)
    file.write_text(CLUSTER + line + "\n")
    with pytest.raises(UsageError, match=why):
        load(file)
