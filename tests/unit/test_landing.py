"""Files arrive beside their folder, are proven, and only then get their names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from provisioning.node import land, landing


class Silent:
    def event(self, value: dict[str, Any]) -> None:
        assert value["total"] >= value["done"]


def rows(files: dict[str, bytes]) -> list[list[Any]]:
    return [[path, len(data), hashlib.sha256(data).hexdigest()] for path, data in files.items()]


def prepare(target: Path, files: dict[str, bytes]) -> dict[str, Any]:
    return land.main({"action": "prepare", "target": str(target), "files": rows(files)}, Silent())


def commit(target: Path, files: dict[str, bytes], last: list[str] | None = None) -> dict[str, Any]:
    return land.main({"action": "commit", "target": str(target), "files": rows(files), "last": last or []}, Silent())


def arrive(stage: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        file = Path(stage, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


FILES = {"NAB/a.csv": b"1\n", "NAB/b.csv": b"2\n", "datasets.csv": b"index"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_files_get_their_names_and_modes_and_leave_no_stage(target: Path) -> None:
    ready = prepare(target, FILES)
    assert sorted(ready["send"]) == sorted(FILES)
    assert ready["bytes"] == 9
    arrive(ready["stage"], FILES)
    Path(ready["stage"], "NAB").chmod(0o555)
    assert commit(target, FILES, ["datasets.csv"]) == {"bad": {}, "placed": 3}
    assert {path: (target / path).read_bytes() for path in FILES} == FILES
    assert {(target / path).stat().st_mode & 0o777 for path in FILES} == {0o644}
    assert (target / "NAB").stat().st_mode & 0o777 == 0o755
    assert list(Path(ready["stage"]).iterdir()) == []
    marker = landing.read_marker(str(target))
    assert marker is not None
    assert {path: row[4] for path, row in marker["files"].items()} == {path: sha for path, _, sha in rows(FILES)}


def test_nothing_is_placed_as_long_as_one_file_is_wrong(target: Path) -> None:
    ready = prepare(target, FILES)
    arrive(ready["stage"], FILES | {"NAB/b.csv": b"3\n"})
    assert commit(target, FILES, ["datasets.csv"])["bad"] == {"NAB/b.csv": "arrived with other bytes"}
    assert [path.name for path in target.iterdir()] == [landing.CONTROL]
    again = prepare(target, FILES)
    assert again["send"] == ["NAB/b.csv"]


def test_an_interrupted_arrival_goes_on_where_it_was(target: Path) -> None:
    ready = prepare(target, FILES)
    arrive(ready["stage"], {"NAB/a.csv": b"1\n", "NAB/.rsync-partial/b.csv": b"half", "stale.csv": b"old"})
    again = prepare(target, FILES)
    assert sorted(again["send"]) == ["NAB/b.csv", "datasets.csv"]
    assert Path(ready["stage"], "NAB/.rsync-partial/b.csv").read_bytes() == b"half"
    assert not Path(ready["stage"], "stale.csv").exists()
    assert commit(target, FILES)["bad"] == {"NAB/b.csv": "did not arrive", "datasets.csv": "did not arrive"}


def test_the_index_gets_its_name_last(target: Path) -> None:
    ready = prepare(target, FILES)
    arrive(ready["stage"], FILES)
    (target / "NAB" / "b.csv").mkdir(parents=True)  # one rename must fail
    with pytest.raises(OSError, match=r"b\.csv"):
        commit(target, FILES, ["datasets.csv"])
    assert not (target / "datasets.csv").exists()
    assert (target / "NAB" / "a.csv").exists()


def test_equal_files_that_lie_there_are_adopted_without_sending(target: Path) -> None:
    arrive(str(target), FILES)
    assert prepare(target, FILES)["send"] == []
    assert commit(target, FILES) == {"bad": {}, "placed": 0}
    assert landing.read_marker(str(target)) is not None


def test_other_files_that_we_did_not_put_there_are_never_replaced(target: Path) -> None:
    arrive(str(target), {"NAB/a.csv": b"mine"})
    with pytest.raises(land.LandingError, match=r"1 files that differ .* NAB/a\.csv") as caught:
        prepare(target, FILES)
    assert "move them away" in caught.value.remedy
    assert (target / "NAB" / "a.csv").read_bytes() == b"mine"


def test_a_file_of_ours_that_was_changed_is_replaced(target: Path) -> None:
    arrive(prepare(target, FILES)["stage"], FILES)
    commit(target, FILES)
    (target / "NAB" / "a.csv").write_bytes(b"9\n")
    ready = prepare(target, FILES)
    assert ready["send"] == ["NAB/a.csv"]
    arrive(ready["stage"], {"NAB/a.csv": b"1\n"})
    commit(target, FILES)
    assert (target / "NAB" / "a.csv").read_bytes() == b"1\n"


def test_nothing_is_ever_deleted(target: Path) -> None:
    arrive(prepare(target, FILES)["stage"], FILES)
    commit(target, FILES)
    (target / "notes.txt").write_text("mine")
    fewer = {"NAB/a.csv": b"1\n"}
    prepare(target, fewer)
    commit(target, fewer)
    assert (target / "NAB" / "b.csv").exists()
    assert (target / "notes.txt").read_text() == "mine"


def test_what_does_not_fit_is_refused_before_anything_is_made(target: Path) -> None:
    request = {"action": "prepare", "target": str(target), "files": [["a", 1 << 60, "x"]]}
    with pytest.raises(land.LandingError, match=r"have to fit .* are free"):
        land.main(request, Silent())
    assert not target.exists()


def test_more_files_than_inodes_are_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(land, "room", lambda _: {"free": 1 << 40, "inodes": 10})
    with pytest.raises(land.LandingError, match="10 inodes are free"):
        prepare(target, FILES)
    assert not target.exists()


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b"])
def test_hostile_paths_are_refused(target: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leaves its folder"):
        prepare(target, {path: b"x"})


def test_a_folder_that_is_a_link_is_not_written_through(target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    ready = prepare(target, FILES)
    arrive(ready["stage"], FILES)
    (target / "NAB").symlink_to(outside)
    with pytest.raises(land.LandingError, match=r"NAB/a\.csv cannot be placed"):
        commit(target, FILES)
    assert list(outside.iterdir()) == []


def test_a_control_folder_that_is_a_link_is_refused(target: Path, tmp_path: Path) -> None:
    target.mkdir()
    (target / landing.CONTROL).symlink_to(tmp_path)
    with pytest.raises(ValueError, match="not ours"):
        prepare(target, FILES)
