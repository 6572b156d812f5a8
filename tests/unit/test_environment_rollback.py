"""Back to the environment before: the two change places, proven, and receipts are withdrawn."""

import os
import shutil
from pathlib import Path

import pytest
from environment_lab import Lab

from provisioning import receipt
from provisioning.errors import NodeError, UsageError
from provisioning.launch import open_session
from provisioning.node import observe_previous, switching, venvs
from provisioning.resources.base import Task
from provisioning.resources.environment import Rollback


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lab(tmp_path, cache, monkeypatch):
    """Return a lab with an environment of dep 2.0 and the one of dep 1.0 before it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()
    lab = Lab(tmp_path)
    lab.make()
    lab.publish("2.0")
    lab.make()
    return lab


def ask(lab: Lab):
    rollback = Rollback()
    observed = observe_previous.observe(rollback.question(lab.cluster, lab.node, None))
    desired = rollback.desired(lab.cluster, {"here": {"environment": observed}}, None)
    return observed, desired, rollback.difference(lab.cluster, lab.node, observed, desired)


def go(lab: Lab, desired: str) -> None:
    with open_session(lab.cluster, lab.node) as session:
        Rollback().settle(Task(session, lab.cluster, lab.node, ask(lab)[2], desired), lambda _: None)


def version(prefix: Path) -> str:
    installed = venvs.look(prefix, deep=True)
    assert installed["edited"] == []
    return next(key for key in installed["installed"] if key.startswith("dep"))


def test_the_two_change_places_and_back_again(lab):
    place = receipt.folder(lab.cluster) / "here.json"
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    _, desired, difference = ask(lab)
    assert [change.title.split(" (")[0] for change in difference.changes] == [
        f"switch {lab.prefix} back to the 2 packages before"
    ]
    go(lab, desired)
    assert (version(lab.prefix), version(switching.previous_of(lab.prefix))) == ("dep==1.0", "dep==2.0")
    assert not place.exists()
    observed = ask(lab)[0]
    assert Rollback().difference(lab.cluster, lab.node, observed, desired).empty
    go(lab, ask(lab)[1])
    assert version(lab.prefix) == "dep==2.0"


def test_what_was_edited_or_is_not_there_is_not_gone_back_to(lab):
    previous = switching.previous_of(lab.prefix)
    victim = next(previous.glob("lib/python*/site-packages/dep/__init__.py"))
    before = victim.stat()
    victim.write_bytes(victim.read_bytes().replace(b"1.0", b"6.6"))
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "dep/__init__.py was changed" in ask(lab)[2].findings[0].message
    (previous / "bin" / "python").unlink()
    assert ask(lab)[2].blocked
    shutil.rmtree(previous)
    assert "there is no environment before" in ask(lab)[2].findings[0].message


def test_one_that_does_not_start_stays_where_it_was(lab):
    python = switching.previous_of(lab.prefix) / "bin" / "python"
    desired = ask(lab)[1]
    python.unlink()
    python.symlink_to("/bin/false")
    with pytest.raises(NodeError):
        go(lab, desired)
    assert version(lab.prefix) == "dep==2.0"
    assert switching.previous_of(lab.prefix).exists()


def test_most_nodes_decide_which_one_it_is(lab):
    observed, desired, _ = ask(lab)
    other = {**observed, "previous": {**observed["previous"], "identity": "other"}}
    done = {"environment": observed["previous"], "previous": observed["environment"]}
    facts = {name: {"environment": seen} for name, seen in (("a", observed), ("b", observed), ("c", other))}
    assert Rollback().desired(lab.cluster, facts, None) == desired
    finding = Rollback().difference(lab.cluster, lab.node, other, desired).findings[0]
    assert "is not the environment that most nodes have kept" in finding.message
    assert Rollback().difference(lab.cluster, lab.node, done, desired).empty
    with pytest.raises(UsageError, match="have kept different environments"):
        Rollback().desired(lab.cluster, {"a": facts["a"], "c": facts["c"]}, None)


def test_an_exchange_that_was_cut_short_is_finished(lab):
    lab.prefix.rename(lab.prefix.with_name("aside"))
    _, desired, difference = ask(lab)
    assert len(difference.changes) == 1
    go(lab, desired)
    assert version(lab.prefix) == "dep==1.0"


@pytest.mark.parametrize("able", [True, False])
def test_folders_exchange_their_names_on_any_file_system(tmp_path, monkeypatch, able):
    if not able:
        monkeypatch.setattr(switching, "_EXCHANGE", 1 << 20)  # flags that no kernel knows
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    switching.exchange(tmp_path / "one", tmp_path / "two")
    assert {path.parent.name: path.read_text() for path in tmp_path.glob("*/file")} == {"one": "two", "two": "one"}


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ({"previous": {"state": "absent"}}, True),
        ({"previous": {"state": "ours", "identity": "a" * 64}}, True),
        ({"previous": {"state": "ours"}}, False),
        ({"previous": {"state": "ours", "identity": ["a"]}}, False),
        ({"previous": None}, False),
        ({}, False),
    ],
)
def test_what_a_node_says_it_has_kept_must_make_sense(observed, expected):
    assert Rollback().sensible(observed) is expected
