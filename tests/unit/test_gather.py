"""Results of nodes come into a folder of the driver: what was asked for, proven by digest, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from lone import lone

from provisioning.errors import NodeError, UsageError
from provisioning.inventory import Cluster, Node
from provisioning.manifest import Entry
from provisioning.transfer import gather
from provisioning.transfer.gather import Gathered, Gathering, offered, place

ONE, TWO = "attempts/one", "attempts/two"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return lone(tmp_path)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote"
    (folder / ONE / "deep").mkdir(parents=True)
    (folder / ONE / "scores.ts").write_text("0.5\n")
    (folder / ONE / "deep" / "line\nbreak.log").write_text("said")
    (folder / ONE / "model.pkl").write_bytes(b"x" * 1000)
    (folder / TWO).mkdir()
    (folder / TWO / "scores.ts").write_text("0.7\n")
    return folder


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def gathering(cluster: Cluster, remote: Path, local: Path) -> Iterator[Gathering]:
    gathering = Gathering(cluster, cluster.driver, PurePosixPath(remote), local, local / ".incoming" / "alpha")
    yield gathering
    gathering.close()


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_what_is_asked_for_comes_and_never_twice(gathering: Gathering, local: Path) -> None:
    assert gathering.fetch([ONE]) == Gathered(files=3, size=1008)
    assert files_in(local) == {f"{ONE}/scores.ts", f"{ONE}/deep/line\nbreak.log", f"{ONE}/model.pkl"}
    assert gathering.fetch([ONE]) == Gathered(present=3)
    assert gathering.fetch([ONE, TWO]) == Gathered(files=1, size=4, present=3)


def test_some_files_can_be_left_and_fetched_later(gathering: Gathering, local: Path) -> None:
    got = gathering.fetch([ONE, TWO], only=["*.ts", "*.log"])
    assert (got.files, got.left) == (3, {ONE: (1, 1000)})
    have = [f"{ONE}/scores.ts", f"{ONE}/deep/line\nbreak.log"]
    (local / ONE / "scores.ts").write_text("changed here since\n")
    assert gathering.fetch([ONE], have=have) == Gathered(files=1, size=1000)
    assert (local / ONE / "scores.ts").read_text() == "changed here since\n"


def test_a_single_file_can_be_asked_for(gathering: Gathering, local: Path) -> None:
    assert gathering.fetch([f"{TWO}/scores.ts"]).files == 1
    assert files_in(local) == {f"{TWO}/scores.ts"}


def test_what_was_not_finished_is_taken_again(gathering: Gathering, remote: Path, local: Path) -> None:
    gathering.fetch([ONE])
    with (remote / ONE / "scores.ts").open("a") as stream:
        stream.write("0.7\n")
    assert gathering.fetch([ONE]) == Gathered(files=1, size=8, present=2)
    assert (local / ONE / "scores.ts").read_text() == "0.5\n0.7\n"


def test_a_file_that_grows_between_offer_and_copy_is_offered_anew(
    gathering: Gathering, remote: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = gather.Copier.pull
    pulls = []

    def growing(self: gather.Copier, source: str, paths: Any, *rest: Any) -> None:
        if not pulls:
            (remote / ONE / "scores.ts").write_text("0.1\n")  # the very same size
        pulls.append(list(paths))
        pull(self, source, paths, *rest)

    monkeypatch.setattr(gather.Copier, "pull", growing)
    assert gathering.fetch([ONE, TWO]) == Gathered(files=4, size=1012)
    assert pulls[1:] == [[f"{ONE}/scores.ts"]]
    assert (local / ONE / "scores.ts").read_text() == "0.1\n"


def test_damage_on_the_way_is_seen_and_named(
    gathering: Gathering, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = gather.Copier.pull

    def damaging(self: gather.Copier, source: str, paths: Any, target: Path, *rest: Any) -> None:
        pull(self, source, paths, target, *rest)
        (target / ONE / "model.pkl").write_bytes(b"y" * 1000)

    monkeypatch.setattr(gather.Copier, "pull", damaging)
    got = gathering.fetch([ONE, TWO])
    assert got.failed == {ONE: "it changed, or what arrived was damaged"}
    assert f"{TWO}/scores.ts" in files_in(local)
    assert not (local / ONE / "model.pkl").exists()


def test_links_and_special_files_stay_where_they_are(gathering: Gathering, remote: Path, local: Path) -> None:
    (remote / ONE / "link").symlink_to("/etc/hostname")
    (remote / ONE / "door").symlink_to("/etc")
    os.mkfifo(remote / ONE / "pipe")
    os.mknod(remote / ONE / "device", 0o600 | 0o020000, os.makedev(1, 3)) if os.geteuid() == 0 else None
    (remote / "attempts" / "away").symlink_to("/etc")
    got = gathering.fetch([ONE, "attempts/away"])
    expected = {f"{ONE}/door", f"{ONE}/link", f"{ONE}/pipe", "attempts/away"}
    assert set(got.other) - {f"{ONE}/device"} == expected
    assert files_in(local) == {f"{ONE}/scores.ts", f"{ONE}/deep/line\nbreak.log", f"{ONE}/model.pkl"}


def test_a_folder_that_holds_too_much_holds_up_no_other(gathering: Gathering, remote: Path, local: Path) -> None:
    with (remote / ONE / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    got = gathering.fetch([ONE, TWO], most=1 << 20)
    assert list(got.refused) == [ONE]
    assert "holds 1099511628784 bytes there" in got.refused[ONE]
    assert files_in(local) == {f"{TWO}/scores.ts"}


def test_what_is_gone_or_cannot_be_read_is_named(
    gathering: Gathering, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(remote / TWO)
    assert gathering.fetch([ONE, TWO]).refused == {TWO: "it is not there any more"}
    answer = {**EMPTY, "unreadable": [[f"{ONE}/model.pkl", "Permission denied"]]}
    got = offered(Hostile(answer), request([ONE]), lambda _: None)  # type: ignore[arg-type]
    assert got.refused == {ONE: f"{ONE}/model.pkl cannot be read there: Permission denied"}


def test_what_is_recorded_elsewhere_is_dropped(gathering: Gathering, remote: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (remote / "outcomes").mkdir()
    (remote / "outcomes" / "one.json").touch()
    (remote / "outcomes" / "two.json").touch()
    (remote / "door").symlink_to(outside)
    gathering.fetch([], drop=["outcomes/one.json", "outcomes/never.json", "door/file"])
    assert [path.name for path in (remote / "outcomes").iterdir()] == ["two.json"]
    assert (outside / "file").exists()


def test_a_full_disk_here_is_told_before_anything_is_sent(
    gathering: Gathering, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=500)
    monkeypatch.setattr(gather.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match=r"1008 bytes of alpha do not fit .* 500 are free"):
        gathering.fetch([ONE])
    assert files_in(local) == set()


def test_a_node_that_sends_more_than_it_offered_is_stopped(
    gathering: Gathering, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flooding(_copier: gather.Copier, *arguments: Any) -> None:
        tell = arguments[3]
        tell(1 << 30)

    monkeypatch.setattr(gather.Copier, "pull", flooding)
    with pytest.raises(NodeError, match="alpha: it sent 1073741824 bytes where it had offered 1008"):
        gathering.fetch([ONE])
    assert files_in(local) == set()


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../b", ""])
def test_nothing_outside_can_be_asked_for(gathering: Gathering, path: str) -> None:
    with pytest.raises(ValueError, match=r"folder|relative"):
        gathering.fetch([path])


# --- what arrives -----------------------------------------------------------------------------------------------------


def entry(path: str, data: bytes) -> Entry:
    return Entry(path, len(data), hashlib.sha256(data).hexdigest())


def test_what_arrives_with_other_bytes_gets_no_name(tmp_path: Path) -> None:
    stage, local = tmp_path / "stage", tmp_path / "local"
    file = stage / "a" / "scores.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"wrong")
    assert not place(stage, local, entry("a/scores.csv", b"right"))
    assert not local.exists()
    file.write_bytes(b"right")
    assert place(stage, local, entry("a/scores.csv", b"right"))
    assert (local / "a" / "scores.csv").read_bytes() == b"right"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_arrives_as_something_else_gets_no_name(tmp_path: Path, kind: str) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    if kind == "link":
        (stage / "scores.csv").symlink_to("/etc/hostname")
    else:
        os.mkfifo(stage / "scores.csv")
    assert not place(stage, tmp_path / "local", entry("scores.csv", b"x"))
    assert not (tmp_path / "local").exists()


def test_a_file_is_not_placed_through_a_link(tmp_path: Path) -> None:
    outside, stage, local = tmp_path / "outside", tmp_path / "stage", tmp_path / "local"
    for folder in (outside, stage / "a", local):
        folder.mkdir(parents=True)
    (local / "a").symlink_to(outside)
    (stage / "a" / "scores.csv").write_bytes(b"x")
    with pytest.raises(OSError, match=r"a"):
        place(stage, local, entry("a/scores.csv", b"x"))
    assert list(outside.iterdir()) == []


# --- a node that lies -------------------------------------------------------------------------------------------------

EMPTY: dict[str, list[Any]] = {
    name: [] for name in ("files", "other", "unreadable", "changing", "absent", "refused", "left")
}


class Hostile:
    """A session to a node that answers what it likes."""

    node = Node("mallory")

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def call(self, program: str, args: dict[str, Any], **_: Any) -> Any:
        return self.answer


def request(below: list[str]) -> dict[str, Any]:
    return {"below": below, "most": 100}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../../.ssh/authorized_keys", "not a manifest"),
        ("/etc/cron.d/x", "not a manifest"),
        ("attempts/one/./b", "not a manifest"),
        ("attempts/other/scores.ts", "nobody asked for"),
        ("attempts/one.ts", "nobody asked for"),
        ("attempts", "nobody asked for"),
    ],
)
def test_a_path_that_was_not_asked_for_is_an_error_of_its_node(path: str, message: str) -> None:
    with pytest.raises(NodeError, match=f"mallory: .*{message}"):
        offered(Hostile({**EMPTY, "files": [[path, 1, "d"]]}), request([ONE]), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(101,), (60, 60), (-1,)])
def test_more_than_the_limit_is_not_believed(sizes: tuple[int, ...]) -> None:
    rows = [[f"{ONE}/{number}", size, "d"] for number, size in enumerate(sizes)]
    with pytest.raises(NodeError, match="mallory: it offers more of attempts/one than is fetched"):
        offered(Hostile({**EMPTY, "files": rows}), request([ONE]), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [{}, {**EMPTY, "files": 3}, {**EMPTY, "left": [["a"]]}, {**EMPTY, "refused": "x"}])
def test_an_answer_of_another_shape_is_an_error_of_its_node(answer: dict[str, Any]) -> None:
    with pytest.raises(NodeError, match="mallory: "):
        offered(Hostile(answer), request([ONE]), lambda _: None)  # type: ignore[arg-type]
