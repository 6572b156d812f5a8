"""Folders by digest: which paths are safe, what is read, and what is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import UsageError
from provisioning.manifest import Entry, Manifest
from provisioning.node import tree
from provisioning.scan import scan

PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda part: part not in (".", "..")
)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(PATH)
def test_a_plain_relative_path_is_safe(path: str) -> None:
    assert tree.safe_path(path) == path


@given(PATH, st.sampled_from(["..", ".", ""]), st.integers(0, 4))
def test_a_path_with_a_step_that_is_no_name_is_refused(path: str, step: str, place: int) -> None:
    parts = path.split("/")
    parts.insert(min(place, len(parts)), step)
    with pytest.raises(ValueError, match=r"leaves its folder|not a relative path"):
        tree.safe_path("/".join(parts))


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b", "", "a\0b", "..", "a//b", "a/", None, 3])
def test_hostile_paths_are_refused(path: object) -> None:
    with pytest.raises(ValueError, match=r"leaves its folder|not a relative path"):
        tree.safe_path(path)


@given(st.dictionaries(PATH, st.tuples(st.integers(0, 1 << 50), st.binary(max_size=3)), max_size=8))
def test_a_manifest_survives_json_and_its_digest_ignores_order(files: dict[str, tuple[int, bytes]]) -> None:
    entries = [Entry(path, size, digest(data)) for path, (size, data) in files.items()]
    manifest = Manifest.of(entries)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.of(reversed(entries)).digest == manifest.digest
    assert manifest.size == sum(entry.size for entry in entries)


def test_the_digest_changes_with_path_size_and_content() -> None:
    base = Manifest.of([Entry("a", 1, "x")]).digest
    assert base not in {Manifest.of([entry]).digest for entry in (Entry("b", 1, "x"), Entry("a", 2, "x"))}
    assert Manifest.of([Entry("a", 1, "y")]).digest != base


@pytest.mark.parametrize("rows", [[["../x", 1, "d"]], [["/x", 1, "d"]], [["x", 1]], [["x", "many", "d"]], 7, [None]])
def test_a_hostile_manifest_is_refused(rows: object) -> None:
    with pytest.raises(UsageError, match="not a manifest"):
        Manifest.from_json(rows)  # type: ignore[arg-type]


def test_a_manifest_names_no_path_twice() -> None:
    with pytest.raises(UsageError, match="twice"):
        Manifest.from_json([["a", 1, "x"], ["a", 1, "y"]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub dir").mkdir(parents=True)
    (root / "plain.csv").write_bytes(b"1,2\n")
    (root / "sub dir" / "line\nbreak 'quote' $(x).csv").write_bytes(b"")
    (root / os.fsdecode(b"invalid-\xff.csv")).write_bytes(b"x")
    return root


def test_scan_reads_every_file_whatever_its_name(folder: Path) -> None:
    manifest = scan(folder)
    assert {entry.path: entry.sha256 for entry in manifest.entries} == {
        "plain.csv": digest(b"1,2\n"),
        "sub dir/line\nbreak 'quote' $(x).csv": digest(b""),
        "invalid-\udcff.csv": digest(b"x"),
    }


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock be far beyond the last change of any file."""
    now = tree.time.time_ns() + 60_000_000_000
    monkeypatch.setattr(tree.time, "time_ns", lambda: now)


def test_scan_reads_only_what_changed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(monkeypatch)
    cache, read = tmp_path / "cache", []  # type: Path, list[int]
    first = scan(folder, cache=cache, progress=read.append)
    assert len(read) == 3
    assert scan(folder, cache=cache, progress=read.append) == first
    assert len(read) == 3
    (folder / "plain.csv").write_bytes(b"1,3\n")
    assert scan(folder, cache=cache, progress=read.append).by_path["plain.csv"].sha256 == digest(b"1,3\n")
    assert len(read) == 4


@pytest.mark.parametrize(("age", "read"), [(1_000_000, True), (50_000_000, False)])
def test_a_row_says_nothing_within_the_clocks_tick_of_the_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, age: int, read: bool
) -> None:
    stamp = (folder / "plain.csv").stat()
    monkeypatch.setattr(tree.time, "time_ns", lambda: stamp.st_ctime_ns + age)
    known = {"plain.csv": [stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns, stamp.st_ino, "from the row"]}
    found, _ = tree.rows(str(folder), ["plain.csv"], known)
    assert found["plain.csv"][4] == (digest(b"1,2\n") if read else "from the row")


def test_scan_of_named_files_reads_only_these(folder: Path) -> None:
    assert [entry.path for entry in scan(folder, ["plain.csv"]).entries] == ["plain.csv"]


def test_links_that_stay_inside_are_kept_as_links(folder: Path) -> None:
    (folder / "again.csv").symlink_to("plain.csv")
    (folder / "absolute.csv").symlink_to(folder / "plain.csv")
    (folder / "sub dir" / "up.csv").symlink_to("../again.csv")
    (folder / "linked").symlink_to("sub dir")
    found = {entry.path: entry.link for entry in scan(folder).entries if entry.link is not None}
    assert found == {
        "again.csv": "plain.csv",
        "absolute.csv": "plain.csv",
        "sub dir/up.csv": "../again.csv",
        "linked": "sub dir",
    }
    named = scan(folder, ["linked/up.csv"])
    assert {entry.path: entry.link for entry in named.entries} == {
        "linked": "sub dir",
        "sub dir/up.csv": "../again.csv",
        "again.csv": "plain.csv",
        "plain.csv": None,
    }
    assert named.by_path["plain.csv"].sha256 == digest(b"1,2\n")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/hostname", "out of"),
        ("../outside.csv", "out of"),
        ("../source/plain.csv", "leads out of its folder"),
        ("nowhere", "a link to nothing"),
        ("link", r"link"),
        ("pipe", "not a regular file"),
    ],
)
def test_a_link_to_anything_else_is_refused(folder: Path, target: str, why: str) -> None:
    (folder.parent / "outside.csv").write_text("secret")
    if target == "pipe":
        os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(target)
    for paths in (None, ["link"]):
        with pytest.raises(UsageError, match=why):
            scan(folder, paths)


@pytest.mark.parametrize("target", ["", "/etc/passwd", "../x", "a/../../x", "\0"])
def test_a_hostile_link_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="not a manifest"):
        Manifest.from_json([["link", 1, f"link:{target}"]])


def test_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        scan(folder)


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.csv is missing"):
        scan(folder, ["gone.csv"])


def test_a_named_path_that_leaves_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="leaves its folder"):
        scan(folder, ["../outside.csv"])


def test_no_link_is_followed_below_the_root(folder: Path) -> None:
    (folder / "door").symlink_to("/etc")
    with pytest.raises(OSError, match=r"door|directory|symbolic"):
        tree.row_of(str(folder), "door/hostname")
