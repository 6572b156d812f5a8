"""The way of bytes: what is copied is proven, tried twice, and every failure has a cause and a remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from provisioning.errors import NodeError, UnreachableError, UsageError
from provisioning.inventory import Cluster, Node
from provisioning.node import land
from provisioning.resources.base import Parcel
from provisioning.scan import scan
from provisioning.transfer.rsync import Copier
from provisioning.transfer.spread import deliver

NODE = Node("alpha", is_driver=True)


class Here:
    """A session whose node is this process."""

    node = NODE

    def call(self, program: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        assert program == "provisioning.node.land"
        return land.main(args, self)  # type: ignore[arg-type]

    def event(self, value: dict[str, Any]) -> None:
        assert value["title"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "NAB").mkdir(parents=True)
    (folder / "NAB" / "a.csv").write_bytes(b"1\n")
    (folder / "NAB" / "b.csv").write_bytes(b"2\n")
    return folder


@pytest.fixture
def parcel(source: Path, tmp_path: Path) -> Parcel:
    manifest = scan(source)
    missing = {"alpha": tuple(entry.path for entry in manifest.entries)}
    return Parcel("datasets", source, manifest, PurePosixPath(tmp_path / "target"), missing)


def copy(source: Path, paths: list[str], stage: str, tell: Callable[[int], None]) -> None:
    for path in paths:
        Path(stage, path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, Path(stage, path))
        tell(len((source / path).read_bytes()))


def send(
    parcel: Parcel, copier: Callable[..., None], on_event: Callable[[dict[str, Any]], None] = lambda _: None
) -> Any:
    return deliver(Here(), parcel, copier, on_event)  # type: ignore[arg-type]


def test_what_travels_is_counted_and_shown_in_bytes(parcel: Parcel) -> None:
    events: list[dict[str, Any]] = []
    assert send(parcel, copy, events.append) == (2, 4)
    assert [(event["done"], event["total"], event["unit"]) for event in events] == [(2, 4, "B"), (2, 4, "B")]
    assert send(parcel, copy) == (0, 0)


def test_a_file_that_came_wrong_is_sent_again(parcel: Parcel) -> None:
    tries: list[list[str]] = []

    def flaky(source: Path, paths: list[str], stage: str, tell: Callable[[int], None]) -> None:
        tries.append(paths)
        copy(source, paths, stage, tell)
        if len(tries) == 1:
            Path(stage, "NAB/b.csv").write_bytes(b"9\n")

    assert send(parcel, flaky) == (3, 6)
    assert tries == [["NAB/a.csv", "NAB/b.csv"], ["NAB/b.csv"]]
    assert Path(parcel.target, "NAB/b.csv").read_bytes() == b"2\n"


def test_what_comes_wrong_again_and_again_is_an_error_of_the_node(parcel: Parcel) -> None:
    def broken(source: Path, paths: list[str], stage: str, tell: Callable[[int], None]) -> None:
        copy(source, paths, stage, tell)
        Path(stage, "NAB/b.csv").write_bytes(b"9\n")

    with pytest.raises(NodeError, match=r"alpha: 1 files for .* e\.g\. NAB/b\.csv: arrived with other bytes"):
        send(parcel, broken)
    assert not Path(parcel.target, "NAB").exists()


def test_a_source_that_changes_meanwhile_is_told_apart(parcel: Parcel, source: Path) -> None:
    (source / "NAB" / "b.csv").write_bytes(b"3\n")
    with pytest.raises(UsageError, match=r"b\.csv was changed while it was copied"):
        send(parcel, copy)
    assert not Path(parcel.target, "NAB").exists()


@pytest.fixture
def copier(tmp_path: Path) -> Copier:
    cluster = Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=(NODE,),
        driver=NODE,
        scheduler=NODE,
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known_hosts",
    )
    return Copier(cluster, NODE)


def test_rsync_copies_what_is_named_and_nothing_else(copier: Copier, source: Path, tmp_path: Path) -> None:
    (source / "NAB" / "link.csv").symlink_to("a.csv")
    (source / "NAB").chmod(0o555)
    target = tmp_path / "stage"
    target.mkdir()
    told: list[int] = []
    copier.push(source, ["NAB/a.csv", "NAB/link.csv"], str(target), told.append)
    assert sorted(path.name for path in (target / "NAB").iterdir()) == ["a.csv", "link.csv"]
    assert not (target / "NAB" / "link.csv").is_symlink()
    assert (target / "NAB").stat().st_mode & 0o777 == 0o755
    assert told[-1] == 4


def test_rsync_tells_what_it_could_not_send(copier: Copier, source: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"alpha: rsync ended with status 23: .*gone\.csv"):
        copier.push(source, ["NAB/gone.csv"], str(tmp_path), lambda _: None)


def test_what_is_gone_on_a_node_is_no_error_of_fetching(copier: Copier, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "stage"
    target.mkdir()
    copier.pull(str(source), ["NAB/gone.csv", "NAB/a.csv"], target, lambda _: None, 1 << 20)
    assert [path.name for path in target.rglob("*.csv")] == ["a.csv"]


def test_fetching_follows_no_link_and_takes_nothing_too_large(copier: Copier, source: Path, tmp_path: Path) -> None:
    (source / "link.csv").symlink_to("/etc/hostname")
    (source / "large.csv").write_bytes(b"x" * 100)
    target = tmp_path / "stage"
    target.mkdir()
    copier.pull(str(source), ["link.csv", "large.csv", "NAB/a.csv"], target, lambda _: None, 50)
    assert [path.relative_to(target).as_posix() for path in target.rglob("*.csv")] == ["NAB/a.csv"]


FAKE = """#!/bin/sh
cat >/dev/null
echo "$MESSAGE" >&2
exit $STATUS
"""


@pytest.fixture
def fake_rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Put a program of rsync's name first that ends as it is told to."""

    def install(status: int, message: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "rsync").write_text(FAKE)
        (tmp_path / "bin" / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        monkeypatch.setenv("STATUS", str(status))
        monkeypatch.setenv("MESSAGE", message)

    return install


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ((11, "rsync: [receiver] write failed: No space left on device (28)"), NodeError, "the disk became full"),
        ((12, "rsync: connection unexpectedly closed"), UnreachableError, "status 12: rsync: connection unexpectedly"),
        ((30, "rsync error: timeout in data send/receive"), UnreachableError, "rsync ended with status 30"),
        ((23, "rsync: open failed: Permission denied (13)"), NodeError, "status 23: rsync: open failed"),
    ],
)
def test_rsyncs_words_become_ours(
    copier: Copier, fake_rsync: Callable[[int, str], None], said: tuple[int, str], kind: type[Exception], told: str
) -> None:
    fake_rsync(*said)
    with pytest.raises(kind, match=told):
        copier.push(Path("/"), ["NAB/a.csv"], "/nowhere", lambda _: None)


def test_a_driver_without_rsync_is_told_what_to_install(
    copier: Copier, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="rsync is not installed on this machine; install it"):
        copier.push(source, ["NAB/a.csv"], str(tmp_path), lambda _: None)


def test_each_name_that_rsync_is_told_has_an_end(
    copier: Copier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rsync 3.5.0 refuses the last of names that fill 4096 bytes, as one that nobody asked for, where it has none
    program = tmp_path / "bin" / "rsync"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec cat > {tmp_path}/told\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    copier.pull("/nowhere", ["a b.csv", "c\nd.csv"], tmp_path, lambda _: None, 1)
    assert (tmp_path / "told").read_bytes() == b"a b.csv\0c\nd.csv\0"
