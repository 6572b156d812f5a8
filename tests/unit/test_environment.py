"""Environments: locks, wheels, the build on a node and what an observation notices, all on this machine."""

import os
import platform
import shutil
from pathlib import Path

import pytest
from environment_lab import MINOR, Lab
from wheelwright import make_project

from provisioning.errors import NodeError, ProvisionError, UsageError
from provisioning.launch import open_session
from provisioning.node import observe_environment, records, venvs
from provisioning.resources.base import Task
from provisioning.resources.environment import EnvironmentResource, lock, project
from provisioning.resources.environment.sources import Sources
from provisioning.resources.environment.target import Target, group

LINUX = Target("3.11", "3.11.2", "x86_64", "glibc", (2, 36))


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


# --- RECORD ---------------------------------------------------------------------------------------------------------


def test_a_record_says_the_same_in_the_wheel_and_installed():
    wheel = [
        ("demo/__init__.py", "sha256=a"),
        ("demo-1.0.data/purelib/extra.py", "sha256=b"),
        ("demo-1.0.data/scripts/tool", "sha256=c"),
        ("demo-1.0.data/data/share/man/tool.1", "sha256=d"),
        ("demo-1.0.data/headers/demo.h", "sha256=h"),
        ("demo-1.0.dist-info/METADATA", "sha256=e"),
        ("demo-1.0.dist-info/RECORD", ""),
    ]
    installed = [
        ("../../../bin/tool", "sha256=with-another-interpreter"),
        ("../../../bin/entry-point", "sha256=z"),
        ("../../../include/site/python3.11/demo/demo.h", "sha256=h"),
        ("../../../share/man/tool.1", "sha256=d"),
        ("demo/__init__.py", "sha256=a"),
        ("demo/__pycache__/__init__.cpython-311.pyc", ""),
        ("extra.py", "sha256=b"),
        ("demo-1.0.dist-info/INSTALLER", "sha256=y"),
        ("demo-1.0.dist-info/METADATA", "sha256=e"),
        ("demo-1.0.dist-info/RECORD", ""),
    ]
    assert records.normalised(wheel) == records.normalised(installed)


def test_a_changed_hash_or_version_changes_the_identity():
    one = records.identity_of({"demo==1.0": records.digest_of([("a.py", "sha256=a")])})
    assert one != records.identity_of({"demo==1.0": records.digest_of([("a.py", "sha256=b")])})
    assert one != records.identity_of({"demo==1.1": records.digest_of([("a.py", "sha256=a")])})


def test_names_are_canonical():
    assert records.key_of("Name: Ruamel.Yaml__x\nVersion: 1.0\n\nVersion: 9") == "ruamel-yaml-x==1.0"


# --- targets and locks ----------------------------------------------------------------------------------------------


def test_platform_tags_go_down_to_the_old_names():
    tags = LINUX.platforms()
    assert tags[0] == "manylinux_2_36_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"} <= set(tags)
    assert "manylinux_2_37_x86_64" not in tags
    assert Target("3.11", "3.11.2", "aarch64", "musl", (1, 2)).platforms()[0] == "musllinux_1_2_aarch64"


def test_nodes_with_one_architecture_share_a_target_that_suits_the_oldest():
    seen = {"machine": "x86_64", "interpreter": {"version": "3.11.9"}}
    nodes = {
        "a": {**seen, "libc": ["glibc", "2.36"]},
        "b": {**seen, "libc": ["glibc", "2.9"], "interpreter": {"version": "3.11.2"}},
        "c": {**seen, "libc": ["glibc", "2.36"], "machine": "aarch64"},
        "d": {**seen, "libc": ["glibc", "2.36"], "interpreter": None},
    }
    targets = group(nodes, "3.11")
    assert targets["a"] == targets["b"] == Target("3.11", "3.11.2", "x86_64", "glibc", (2, 9))
    assert targets["c"].machine == "aarch64"
    assert "d" not in targets


LOCK = """# comment
one==1.0 ; python_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
one==2.0 ; python_version >= '3.12' \\
    --hash=sha256:cc
win==1.0 ; sys_platform == 'win32' --hash=sha256:dd
"""


def test_a_hashed_lock_is_taken_as_it_is_for_the_target():
    assert lock.parse(LOCK, LINUX) == (lock.Pin("one", "1.0", ("sha256:aa", "sha256:bb")),)


@pytest.mark.parametrize(
    "text", ["one==1.0\n", "one>=1.0 --hash=sha256:aa\n", "-r other.txt\n", "one==1.* --hash=sha256:a\n"]
)
def test_what_is_not_fully_pinned_is_no_lock(text):
    assert lock.parse(text, LINUX) is None


def test_two_locks_that_disagree_are_refused(tmp_path):
    (tmp_path / "a.lock").write_text("one==1.0 --hash=sha256:aa\n")
    (tmp_path / "b.lock").write_text("one==2.0 --hash=sha256:bb\n")
    with pytest.raises(UsageError, match=r"pins one 2\.0, an earlier file pins 1.0"):
        lock.pins_for(LINUX, Sources((tmp_path / "a.lock", tmp_path / "b.lock")), tmp_path / "kept")


def test_a_missing_requirements_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.lock cannot be read"):
        lock.pins_for(LINUX, Sources((tmp_path / "nothing.lock",)), tmp_path)


# --- local projects -------------------------------------------------------------------------------------------------


def test_equal_content_gives_equal_bytes_and_is_built_once(tmp_path):
    one = make_project(tmp_path / "one", "mine", "1.0")
    other = make_project(tmp_path / "elsewhere" / "other", "mine", "1.0")
    os.utime(other / "pkg" / "__init__.py", (5, 5))
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "junk.pyc").write_bytes(b"x")
    first = project.build(one)
    assert project.build(other).entry == first.entry
    first.file.unlink()
    assert project.build(one).entry == first.entry
    assert sorted(path.name for path in one.iterdir()) == ["backend.py", "pkg", "pyproject.toml"]


def test_other_content_gives_another_wheel(tmp_path):
    folder = make_project(tmp_path / "one", "mine", "1.0")
    before = project.build(folder).entry
    (folder / "pkg" / "__init__.py").write_text("answer = 43\n")
    assert project.build(folder).entry.sha256 != before.sha256


def test_a_project_that_does_not_build_says_why(tmp_path):
    folder = make_project(tmp_path / "one", "mine", "1.0")
    (folder / "backend.py").write_text("raise RuntimeError('no compiler here')")
    with pytest.raises(ProvisionError, match="no compiler here"):
        project.build(folder)
    with pytest.raises(ProvisionError, match="no Python project"):
        project.build(tmp_path / "index")


# --- the whole way, on the driver's own node ------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def model():
    """Keep the first environment that is made; copies of it serve tests that only look."""
    return []


@pytest.fixture
def made(lab, model, tmp_path_factory):
    if not model:
        lab.make()
        model.append(shutil.copytree(lab.prefix, tmp_path_factory.mktemp("model") / "demo", symlinks=True))
    elif not lab.prefix.exists():
        shutil.copytree(model[0], lab.prefix, symlinks=True)
    return lab


def test_an_environment_is_made_once_and_then_nothing_is_left_to_do(lab):
    _, desired, difference = lab.look()
    assert [change.title for change in difference.changes] == [f"install 2 packages at {lab.prefix} (there is none)"]
    assert difference.size == desired.houses["here"].manifest.size
    assert [event["title"] for event in lab.make()][-1] == "switch"
    observed, desired, difference = lab.look()
    assert difference.empty
    assert observed["environment"]["identity"] == desired.houses["here"].identity
    assert observed["environment"]["compiled"] is True
    assert list((lab.packages() / "dep" / "__pycache__").glob("*.pyc"))
    assert sorted(path.name for path in lab.prefix.parent.iterdir()) == ["demo"]
    script = (lab.prefix / "bin" / "dep-say").read_text()
    assert str(lab.prefix.parent) not in script


def test_a_new_lock_replaces_the_environment_and_keeps_the_old_one(made):
    lab = made
    lab.publish("2.0")
    _, _, difference = lab.look()
    assert "other packages are there: dep" in difference.changes[0].title
    lab.make()
    assert lab.look()[2].empty
    assert (lab.prefix.parent / "demo.previous" / "bin" / "python").exists()
    same = Path("lib") / f"python{MINOR}" / "site-packages" / "pkg" / "__init__.py"
    previous = lab.prefix.parent / "demo.previous"
    assert (lab.prefix / same).stat().st_mtime_ns == (previous / same).stat().st_mtime_ns
    stored = [path for path, _ in lab.look()[0]["store"]]
    assert not [path for path in stored if "dep-1.0" in path]


def test_a_project_that_changed_under_its_old_version_is_installed(made):
    lab = made
    (lab.project / "pkg" / "__init__.py").write_text("answer = 43\n")
    assert "other packages are there: mine" in lab.look()[2].changes[0].title
    lab.make()
    assert lab.look()[2].empty
    assert (lab.packages() / "pkg" / "__init__.py").read_text() == "answer = 43\n"


@pytest.mark.parametrize("deed", ["edit", "add", "remove", "pip", "byte code"])
def test_site_packages_changed_by_hand_are_noticed(made, deed):
    lab = made
    assert lab.look()[2].empty
    victim = lab.packages() / "dep" / "__init__.py"
    if deed == "edit":
        victim.write_text(victim.read_text().replace("1.0", "6.6"))
    elif deed == "add":
        (lab.packages() / "stray.pth").write_text("import sys\n")
    elif deed == "remove":
        victim.unlink()
    elif deed == "byte code":
        shutil.rmtree(victim.parent / "__pycache__")
    else:
        shutil.rmtree(lab.packages() / "dep-1.0.dist-info")
    assert len(lab.look()[2].changes) == 1


def test_what_was_changed_by_hand_is_made_anew(made):
    (made.packages() / "dep" / "__init__.py").write_text("version = 'mine'\n")
    made.make()
    assert made.look()[2].empty


def test_byte_code_that_an_interpreter_adds_is_not_a_change(made):
    (made.packages() / "share" / "__pycache__").mkdir(parents=True)
    (made.packages() / "dep" / "__pycache__" / "other.pyc").write_bytes(b"x")
    assert venvs.look(made.prefix)["edited"] == venvs.look(made.prefix, deep=True)["edited"] == []


def test_a_file_that_was_only_touched_is_not_a_change(made):
    os.utime(made.packages() / "dep" / "__init__.py")
    assert made.look()[2].empty


def test_a_deep_look_reads_every_file(made):
    lab = made
    victim = lab.packages() / "dep" / "__init__.py"
    before = victim.stat()
    victim.write_bytes(victim.read_bytes().replace(b"1.0", b"6.6"))
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert venvs.look(lab.prefix)["edited"] == []
    assert venvs.look(lab.prefix, deep=True)["edited"] == [f"{victim.relative_to(lab.prefix)} was changed"]


def test_a_damaged_wheel_is_named_and_the_old_environment_stays(made):
    lab = made
    lab.publish("2.0")
    _, desired, difference = lab.look()
    store = Path(lab.cluster.state) / "store" / "wheels"
    for path in difference.changes[0].detail["missing"]:
        (store / path).parent.mkdir(parents=True)
        (store / path).write_bytes(b"\0" * desired.houses["here"].manifest.by_path[path].size)
    with open_session(lab.cluster, lab.node) as session, pytest.raises(NodeError, match=r"missing or damaged.*dep-2.0"):
        lab.resource.settle(Task(session, lab.cluster, lab.node, difference, desired), lambda _: None)
    assert lab.look()[0]["environment"]["installed"].keys() == {"dep==1.0", "mine==1.0"}
    assert [path.name for path in lab.prefix.parent.iterdir()] == ["demo"]
    assert lab.look()[2].changes[0].detail["missing"] == difference.changes[0].detail["missing"]


def test_what_died_half_way_is_cleared_away(lab):
    rest = lab.prefix.parent / ".demo.staging" / "demo" / "bin"
    rest.mkdir(parents=True)
    lab.make()
    assert lab.look()[2].empty
    assert not rest.exists()


def test_a_lock_that_leaves_out_what_a_project_needs_is_refused_before_anything_is_sent(lab):
    lab.publish("0.5")
    with pytest.raises(UsageError, match=r"mine 1.0 needs dep>=1, there is 0.5"):
        lab.look()
    lab.lock.write_text("")
    with pytest.raises(ProvisionError):
        lab.look()


def test_a_package_without_a_wheel_for_the_nodes_is_named(lab):
    lab.lock.write_text("dep==9.9 --hash=sha256:00\n")
    with pytest.raises(ProvisionError, match=r"fetching wheels for Python .*dep==9.9"):
        lab.look()


def test_what_stands_in_the_way_is_found_and_nothing_is_changed(lab):
    lab.prefix.mkdir(parents=True)
    (lab.prefix / "thesis.tex").write_text("years of work")
    difference = lab.look()[2]
    assert [finding.message for finding in difference.findings] == [f"{lab.prefix} was not made by create-envs"]
    shutil.rmtree(lab.prefix)
    lab.prefix.symlink_to("/usr")
    assert "is a symbolic link to /usr" in lab.look()[2].findings[0].message


def test_a_node_without_the_interpreter_or_without_room_is_a_finding(lab):
    finding = lab.look(interpreter=None)[2].findings[0]
    assert f"no Python {MINOR}" in finding.message
    assert f"install python{MINOR}" in finding.remedy
    room = {"directory": True, "nearest": "/srv", "writable": False, "free": 100, "inodes": 3, "device": 1}
    messages = " | ".join(
        finding.message for finding in lab.look(room=room, store_room=room | {"device": 2})[2].findings
    )
    for part in ("/srv cannot be written to", "bytes have to fit", "3 inodes are free"):
        assert part in messages


def test_the_interpreter_that_is_found_is_no_environment():
    found = observe_environment.interpreter(MINOR)
    assert found is not None
    assert found["version"].startswith(MINOR)
    assert observe_environment.interpreter("3.99") is None
    assert observe_environment.libc()[0] in ("glibc", "musl")
    assert platform.machine()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"interpreter": None}, True),
        ({"environment": {"state": "ours", "identity": "a", "installed": {"dep": "b"}}}, True),
        ({"libc": ["glibc"]}, False),
        ({"libc": ["glibc", 2]}, False),
        ({"codecs": ["zstd"]}, False),
        ({"interpreter": {"version": 3.11}}, False),
        ({"interpreter": "3.11.2"}, False),
        ({"environment": {"state": "ours", "identity": ["a"], "installed": {}}}, False),
        ({"environment": {"state": "ours", "identity": "a", "installed": ["dep"]}}, False),
        ({"machine": 8}, False),
    ],
)
def test_what_a_node_says_it_has_must_make_sense(changes, expected):
    seen = {"machine": "x86_64", "libc": ["glibc", "2.36"], "codecs": [1, 0], "interpreter": {"version": "3.11.2"}}
    seen["environment"] = {}
    assert EnvironmentResource().sensible({**seen, **changes}) is expected
    assert EnvironmentResource().sensible({})
