"""What is remembered between commands: on the driver, and of programs on a node."""

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioning import frames, kept, sources
from provisioning.errors import InventoryError, NodeError
from provisioning.inventory import Node, load
from provisioning.launch import Session
from provisioning.node import programs, quick

TALK = "node_programs.talk"
ECHO = {"action": "echo", "events": 0, "text": "a"}
CLUSTER = """\
[cluster]
name = "lab"
hosts = ["node[01-03]"]
results = "/srv/results"
slots = 2

[groups]
fast = ["node01"]

[host.node02]
address = "10.0.0.2"

[[datasets]]
source = "nab"
path = "/srv/data/nab"
mode = "640"

[environment]
prefix = "/srv/envs/one"
python = "3.11"

[ports]
workers = "30000-30100"
"""
PYDANTIC = (
    "import sys, pathlib; from provisioning.inventory import load; "
    "load(pathlib.Path(sys.argv[1])); print('pydantic' in sys.modules)"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources.pack.cache_clear()
    return tmp_path / "cache" / "timeeval-cluster"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nab").mkdir()
    (tmp_path / "nab" / "datasets.csv").touch()
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    return tmp_path / "cluster.toml"


def loads_pydantic(file: Path) -> bool:
    done = subprocess.run([sys.executable, "-c", PYDANTIC, file], check=True, capture_output=True, text=True)
    return done.stdout.strip() == "True"


def test_a_cluster_file_that_was_checked_is_the_same_without_pydantic(file: Path) -> None:
    first = load(file)
    assert load(file) == first
    assert not loads_pydantic(file)
    file.write_text(CLUSTER.replace("slots = 2", "slots = 3"))
    assert loads_pydantic(file)
    assert load(file).nodes[0].slots == 3


def test_an_error_has_its_line_whatever_is_remembered(file: Path) -> None:
    load(file)
    (file.parent / "nab" / "datasets.csv").unlink()
    with pytest.raises(InventoryError) as met:
        load(file)
    assert met.value.line == 14


def test_a_cluster_file_that_was_wrong_is_not_remembered(file: Path) -> None:
    file.write_text(CLUSTER.replace("slots = 2", "slots = 0"))
    for _ in range(2):
        with pytest.raises(InventoryError, match="slots"):
            load(file)


@pytest.mark.parametrize("harm", [lambda file: file.chmod(0o622), lambda file: file.write_text("[1]")])
def test_nothing_is_believed_that_another_could_have_written(
    file: Path, cache: Path, harm: Callable[[Path], object]
) -> None:
    first = load(file)
    [store] = (cache / "clusters").iterdir()
    assert store.stat().st_mode & 0o777 == 0o600
    harm(store)
    assert loads_pydantic(file)
    assert load(file) == first


def test_what_is_made_of_files_is_made_anew_when_one_changes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")

    def made() -> tuple[bytes, list[str]]:
        calls.append(1)
        return source.read_bytes(), [str(source)]

    calls: list[int] = []
    assert [kept.made("it", made), kept.made("it", made)] == [b"one", b"one"]
    assert len(calls) == 1
    source.write_text("three")
    assert kept.made("it", made) == b"three"


PACKED = (
    "from provisioning import frames, sources; print(sources.__file__); print(frames.bootstrap_digest()); "
    "print(sources.pack('provisioning.node.look').digest)"
)


def test_two_installations_send_their_own_programs(tmp_path: Path) -> None:
    """As with two environments, or two checkouts, of one user."""
    here = Path(kept.__file__).parent
    digests = []
    for name in ("one", "other"):
        shutil.copytree(here, tmp_path / name / "provisioning", ignore=shutil.ignore_patterns("__pycache__"))
        with (tmp_path / name / "provisioning" / "node" / "quick.py").open("a") as quick_program:
            quick_program.write(f"\nNAME = {name!r}\n")
        argv = [sys.executable, "-S", "-c", PACKED]
        done = subprocess.run(argv, cwd=tmp_path / name, check=True, capture_output=True, text=True)
        file, *found = done.stdout.split()
        assert Path(file).is_relative_to(tmp_path / name)
        digests.append(found)
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_programs_of_one_name_in_two_places_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packs = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program_of_test.py").write_text(f"NAME = {name!r}\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / name)
            sources.pack.cache_clear()
            sources._collect.cache_clear()
            packs.append(sources.pack("program_of_test"))
    assert packs[0] != packs[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "programs"


@pytest.fixture
def session(folder: Path) -> Session:
    return Session(Node("local", is_driver=True), timeout=20, keep=str(folder))


def test_a_program_travels_to_a_node_once(session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = sources.pack(TALK)
    assert session.call(TALK, ECHO)["said"] == "A!"
    both = {pack.digest, frames.bootstrap_digest()}
    assert {path.name for path in folder.iterdir()} == both | {digest + programs.CODE for digest in both}
    assert {folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777} == {0o700}
    monkeypatch.setattr("provisioning.conversation.pack", lambda *_: sources.Pack(pack.digest, b"never sent"))
    monkeypatch.setattr(frames, "bootstrap", lambda: b"never sent")
    assert session.call(TALK, ECHO)["said"] == "A!"


@pytest.mark.parametrize("harm", [b"", b"print('evil')", bytes(1 << 21)])
def test_a_kept_program_that_is_not_what_it_was_travels_again(session: Session, folder: Path, harm: bytes) -> None:
    session.call(TALK, ECHO)
    kept_there = {program: program.read_bytes() for program in folder.iterdir()}
    for program in kept_there:
        program.write_bytes(harm)
    assert session.call(TALK, ECHO)["said"] == "A!"
    assert {program: program.read_bytes() for program in kept_there} == kept_there


def _evil(folder: Path) -> Path:
    """Make the kept byte code of the program another one, with a digest that is right; return its file."""
    digest = sources.pack(TALK).digest
    file = folder / (digest + programs.CODE)
    packed, codes = programs.kept_code(str(folder), digest)
    codes[TALK] = compile("def main(args, channel): return {'said': 'evil'}", "talk.py", "exec")
    programs.keep_code(str(folder), digest, (packed, codes))
    return file


def test_a_kept_program_is_not_compiled_again(session: Session, folder: Path) -> None:
    session.call(TALK, ECHO)
    _evil(folder)
    assert session.call(TALK, ECHO)["said"] == "evil"  # so it is what was kept that runs: this user's own word


@pytest.mark.parametrize("whose", ["another's folder", "another's file", "a link"])
def test_byte_code_that_another_user_may_have_written_does_not_run(session: Session, folder: Path, whose: str) -> None:
    session.call(TALK, ECHO)
    file = _evil(folder)
    if whose == "a link":
        file.symlink_to(file.rename(folder.parent / "code"))
    else:
        place = file if whose == "another's file" else folder
        place.chmod(place.stat().st_mode | 0o020)
    assert session.call(TALK, ECHO)["said"] == "A!"


def test_the_bootstraps_byte_code_runs_only_where_nobody_else_writes(session: Session, folder: Path) -> None:
    session.call(TALK, ECHO)
    digest = frames.bootstrap_digest()
    evil = compile("def run(own): raise SystemExit(3)", "bootstrap.py", "exec")
    programs.keep_code(str(folder), digest, [("provisioning.node.bootstrap", evil)])
    with pytest.raises(NodeError):
        session.call(TALK, ECHO)
    (folder / (digest + programs.CODE)).chmod(0o620)
    assert session.call(TALK, ECHO)["said"] == "A!"


def test_an_error_of_a_program_that_was_kept_shows_its_lines(session: Session) -> None:
    for _ in range(2):
        with pytest.raises(NodeError) as caught:
            session.call(TALK, {"action": "refuse"})
        assert "raise " in (caught.value.details or "")


def test_programs_are_kept_in_no_folder_that_others_write_to(session: Session, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert session.call(TALK, ECHO)["said"] == "A!"
    assert list(folder.iterdir()) == []


def test_programs_of_older_versions_go(session: Session, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    for number in range(140):
        (folder / f"{number:064}").touch()
    session.call(TALK, ECHO)
    assert not any(path.name.startswith("0" * 60) for path in folder.iterdir())


def test_one_interpreter_runs_one_program_after_another(session: Session) -> None:
    pids = [session.call(TALK, {"action": "pid"}, more=True)["pid"] for _ in range(3)]
    assert len(set(pids)) == 1
    with pytest.raises(NodeError, match="the disk is full"):
        session.call(TALK, {"action": "refuse"}, more=True)
    assert session.call(TALK, {"action": "pid"})["pid"] not in {*pids, os.getpid()}


def test_an_interpreter_that_waits_ends_with_the_session(session: Session) -> None:
    with session:
        pid = session.call(TALK, {"action": "pid"}, more=True)["pid"]
        descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(10_000)
    finally:
        os.close(descriptor)


VALUES = [{"a": [1, 2.5, -3, 1e300, None, True, '\u00e4\ud800\n"', {}]}, [], "", 7, None, "\x00", {"": {"": []}}]


@pytest.mark.parametrize("halves", [quick._HALVES, None])
@pytest.mark.parametrize("value", VALUES)
def test_json_is_what_it_is_elsewhere(value: object, halves: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick._HALVES is not None
    monkeypatch.setattr(quick, "_HALVES", halves)
    assert quick.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert quick.loads(" " + json.dumps(value, indent=1) + "\n") == value
    assert quick.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("halves", [quick._HALVES, None])
@pytest.mark.parametrize("text", ["", "{", "[1,]", "1 2", "{'a': 1}", '"a', "nul", b"\xff", '["\n"]'])
def test_what_is_no_json_is_a_value_error(text: str, halves: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "_HALVES", halves)
    with pytest.raises(ValueError):  # noqa: PT011 - of either kind
        quick.loads(text)


@pytest.mark.parametrize("program", ["observe_datasets", "hold_locks", "relay"])
def test_what_runs_with_every_difference_loads_little(program: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(quick.__file__).parents[2])!r}); import provisioning.node.{program}"
    )
    heavy = "print(*{'enum', 'json', 'pathlib', 're', 'subprocess', 'typing'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"{code}; {heavy}"], check=True, capture_output=True)
    assert done.stdout.split() == []
