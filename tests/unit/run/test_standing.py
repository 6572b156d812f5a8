"""What a host checks before each attempt: what a stat tells is not read, what it leaves open is not believed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from timeeval.errors import InfrastructureError
from timeeval.run import standing
from timeeval.run.standing import Standing

MEND = "`timeeval-provision up --cluster c.toml --limit here` mends and verifies it"


def row(path: Path) -> list[Any]:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return [digest, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


class Scene:
    """A host with a dataset file, an installed package and an image, and what was proven of it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "a.csv"
        self.data.write_text("1,2\n")
        self.packages = folder / "site-packages"
        self.record = self.install("one-1")
        self.image: str | None = "sha256:1"
        self.inspected = 0

    def install(self, name: str) -> Path:
        record = self.packages / f"{name}.dist-info" / "RECORD"
        record.parent.mkdir(parents=True)
        record.write_text(f"{name}.py,sha256=abc,3\n")
        return record

    def text(self, **changed: Any) -> str:
        facts = {
            "host": "here",
            "since": "verified",
            "mend": MEND,
            "machine_id": standing._text("/etc/machine-id"),
            "boot_id": standing.boot(),
            "environment": "e",
            "records": {str(self.record): row(self.record)},
            "files": {str(self.data): row(self.data)},
            "images": {"one:1": "sha256:1"},
        }
        return standing.document(**facts | changed)

    def standing(self, **changed: Any) -> Standing:
        return Standing(self.text(**changed), self.inspect)

    def inspect(self, name: str) -> str | None:
        assert name == "one:1"
        self.inspected += 1
        return self.image

    @property
    def proven(self) -> dict[str, Any]:
        return {"files": {str(self.data): row(self.data)[0]}, "images": {"one:1": "sha256:1"}}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to be sure."""
    done: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        done.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return done


def test_nothing_changed_and_nothing_is_read(scene: Scene, reads: list[str]) -> None:
    known = scene.standing()
    assert [known.changed(scene.proven) for _ in range(3)] == ["", "", ""]
    assert reads == []
    assert scene.inspected == 1


def edited(scene: Scene) -> None:
    scene.data.write_text("1,3,4\n")


def edited_with_size_and_time_put_back(scene: Scene) -> None:
    status = scene.data.stat()
    scene.data.write_text("1,3\n")
    os.utime(scene.data, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced_with_size_and_time_put_back(scene: Scene) -> None:
    other = scene.data.with_suffix(".new")
    other.write_text("1,3\n")
    shutil.copystat(scene.data, other)
    other.replace(scene.data)


def removed(scene: Scene) -> None:
    scene.data.unlink()


def other_version(scene: Scene) -> None:
    scene.record.parent.rename(scene.record.parent.with_name("one-2.dist-info"))


def added_package(scene: Scene) -> None:
    scene.install("two-2")


def rewritten_record(scene: Scene) -> None:
    scene.record.write_text("one-1.py,sha256=xyz,3\n")


def no_environment(scene: Scene) -> None:
    shutil.rmtree(scene.packages)


def retagged(scene: Scene) -> None:
    scene.image = "sha256:2"


def untagged(scene: Scene) -> None:
    scene.image = None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (edited, "the dataset file {data}"),
        (edited_with_size_and_time_put_back, "the dataset file {data}"),
        (replaced_with_size_and_time_put_back, "the dataset file {data}"),
        (removed, "the dataset file {data}"),
        (other_version, "the package one-1 in {packages}"),
        (added_package, "the package two-2 in {packages}"),
        (rewritten_record, "the package one-1 in {packages}"),
        (no_environment, "the packages in {packages}"),
        (retagged, "the image one:1"),
        (untagged, "the image one:1"),
    ],
)
def test_what_changed_is_named_with_the_host_and_what_mends_it(
    scene: Scene, change: Callable[[Scene], None], what: str
) -> None:
    known, proven = scene.standing(), scene.proven
    change(scene)
    named = what.format(data=scene.data, packages=scene.packages)
    assert known.changed(proven) == f"changed since verified: {named} on here; {MEND}"


@pytest.mark.parametrize(
    ("fact", "what"), [("boot_id", "the machine's start: it was started anew"), ("machine_id", "it is another one")]
)
def test_another_start_or_machine(scene: Scene, fact: str, what: str) -> None:
    assert what in scene.standing(**{fact: "other"}).changed(scene.proven)


@pytest.mark.parametrize("same", ["touched", "copied"])
def test_what_is_in_doubt_is_read_once_and_holds_with_the_same_content(
    scene: Scene, reads: list[str], monkeypatch: pytest.MonkeyPatch, same: str
) -> None:
    known, proven = scene.standing(), scene.proven
    if same == "touched":
        os.utime(scene.data, ns=(1, 1))
    else:
        copy = shutil.copyfile(scene.data, scene.data.with_suffix(".new"))
        copy.replace(scene.data)
    reads.clear()
    assert known.changed(proven) == ""
    assert known.changed(proven) == ""
    assert reads == ["a.csv", "a.csv"], "a change within the clock's tick would leave no mark"
    monkeypatch.setattr(standing, "_TICK", -1)
    assert known.changed(proven) == known.changed(proven) == ""
    assert reads == ["a.csv"] * 3


def test_byte_code_beside_the_packages_is_no_change(scene: Scene, reads: list[str]) -> None:
    known = scene.standing()
    assert known.changed(scene.proven) == ""
    (scene.packages / "__pycache__").mkdir()
    reads.clear()
    assert known.changed(scene.proven) == ""
    assert reads == []


def test_what_was_not_proven_is_refused(scene: Scene) -> None:
    other = scene.data.with_name("b.csv")
    other.write_text("1\n")
    assert "b.csv" in scene.standing().changed({"files": {str(other): ""}, "images": {}})
    assert "a.csv" in scene.standing().changed({"files": {str(scene.data): "00"}, "images": {}})
    assert "two:1" in scene.standing().changed({"files": {}, "images": {"two:1": ""}})


def test_an_image_is_asked_for_again_after_a_while(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    known = scene.standing()
    assert known.changed(scene.proven) == ""
    scene.image = "sha256:2"
    assert known.changed(scene.proven) == "", "containers are started by the proven id"
    monkeypatch.setattr(standing, "IMAGE_SECONDS", 0.0)
    assert "one:1" in known.changed(scene.proven)


def test_a_worker_finds_the_standing_by_its_digest(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = scene.text(boot_id="only this test")
    digest = standing.digest_of(text)
    with pytest.raises(InfrastructureError, match="did not come to its worker"):
        standing.held(digest)
    file = tmp_path / "standing.json"
    monkeypatch.setenv(standing.VARIABLE, str(file))
    file.write_text(text.replace("only", "not"))
    with pytest.raises(InfrastructureError, match="did not come to its worker"):
        standing.held(digest)
    file.write_text(text)
    assert standing.held(digest) is standing.held(digest)
    assert "started anew" in standing.held(digest).changed(scene.proven)


def test_what_is_no_standing_is_refused() -> None:
    with pytest.raises(ValueError, match="not a timeeval"):
        Standing(json.dumps({"schema": "timeeval.standing/9"}))
