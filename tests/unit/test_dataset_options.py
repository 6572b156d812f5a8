"""What a person may say of datasets: which, with which rights, with or without what has gone, links and all."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from lone import lone

from provisioning.commands import Options, wanted
from provisioning.errors import UsageError
from provisioning.inventory import Cluster, DatasetFolder
from provisioning.node import forget_files, landing
from provisioning.plan import Job, run
from provisioning.report import Report, lines
from provisioning.resources.datasets import Datasets
from provisioning.selecting import selected
from provisioning.transfer import feed, hand
from provisioning.transfer.fanout import Fanout

HEADER = "collection_name,dataset_name,train_path,test_path\n"
INDEX = HEADER + "NAB,one,,NAB/one.csv\nNAB,two,,NAB/two.csv\nKDD,one,,KDD/one.csv\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    source = tmp_path / "source"
    for name in ("NAB/one", "NAB/two", "KDD/one"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.csv").write_text(name)
    (source / "datasets.csv").write_text(INDEX)
    return lone(tmp_path, datasets=(DatasetFolder(source, PurePosixPath(tmp_path / "data")),))


@pytest.fixture
def sync(cluster: Cluster, tmp_path: Path) -> Callable[..., Report]:
    def go(given: Cluster = cluster, *, dry_run: bool = False, **options: Any) -> Report:
        resource = Datasets(tmp_path / "cache", delete=options.get("delete", False), on_event=options.get("on_event"))
        needs = selected(given, options["select"]) if "select" in options else None
        return run(Job(given, given.nodes, [resource], Fanout(), needs, dry_run=dry_run))

    return go


def there(cluster: Cluster) -> list[str]:
    target = Path(cluster.datasets[0].path)
    found = (path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    return sorted(path for path in found if ".timeeval" not in path)


@pytest.mark.parametrize(
    ("patterns", "files"),
    [
        (["NAB"], ["NAB/one.csv", "NAB/two.csv"]),
        (["NAB-*"], ["NAB/one.csv", "NAB/two.csv"]),
        (["*/one"], ["KDD/one.csv", "NAB/one.csv"]),
        (["NAB/two,KDD"], ["KDD/one.csv", "NAB/two.csv"]),
    ],
)
def test_only_what_is_selected_travels(
    cluster: Cluster, sync: Callable[..., Report], patterns: list[str], files: list[str]
) -> None:
    assert sync(select=patterns).exit_code() == 0
    assert there(cluster) == sorted([*files, "datasets.csv"])
    assert sync(select=patterns).nodes[0].state == "ok"


@pytest.mark.parametrize("patterns", [["nab"], ["NAB", "XYZ*"], [""]])
def test_a_pattern_that_matches_nothing_is_an_error(cluster: Cluster, patterns: list[str]) -> None:
    with pytest.raises(UsageError, match="no dataset matches"):
        selected(cluster, patterns)


@pytest.mark.parametrize(
    "options",
    [
        Options(experiment=Path("x.py"), select=("NAB",)),
        Options(select=("NAB",), delete=True),
        Options(experiment=Path("x.py"), delete=True),
    ],
)
def test_options_that_contradict_each_other_are_refused(cluster: Cluster, options: Options) -> None:
    with pytest.raises(UsageError, match="--"):
        wanted(options, cluster)


def shrink(cluster: Cluster) -> None:
    source = cluster.datasets[0].source
    (source / "KDD" / "one.csv").unlink()
    (source / "KDD").rmdir()
    (source / "datasets.csv").write_text(INDEX.replace("KDD,one,,KDD/one.csv\n", ""))


def test_nothing_is_deleted_unless_it_is_asked_for(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    shrink(cluster)
    assert sync().exit_code() == 0
    assert "KDD/one.csv" in there(cluster)
    assert sync().nodes[0].state == "ok"


def test_what_the_source_has_no_more_is_shown_and_goes(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    target = Path(cluster.datasets[0].path)
    (target / "KDD" / "mine.txt").write_text("mine")
    (target / "notes.txt").write_text("mine")
    shrink(cluster)
    shown = "\n".join(lines(sync(dry_run=True, delete=True), dry_run=True))
    assert f"delete 1 files below {target}" in shown
    assert "KDD/one.csv" in shown
    assert "KDD/one.csv" in there(cluster)
    assert sync(delete=True).exit_code() == 0
    assert there(cluster) == ["KDD/mine.txt", "NAB/one.csv", "NAB/two.csv", "datasets.csv", "notes.txt"]
    (target / "KDD" / "mine.txt").unlink()
    assert sync(delete=True).nodes[0].state == "ok"


def test_folders_that_become_empty_go_too(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    shrink(cluster)
    sync(delete=True)
    assert not (Path(cluster.datasets[0].path) / "KDD").exists()


def test_an_index_without_datasets_empties_no_node(cluster: Cluster, sync: Callable[..., Report]) -> None:
    sync()
    shrink(cluster)
    (cluster.datasets[0].source / "datasets.csv").write_text(HEADER)
    report = sync(delete=True)
    assert report.exit_code() == 4
    assert "lists no dataset" in report.nodes[0].findings[0].message
    assert "KDD/one.csv" in there(cluster)


class Silent:
    def event(self, value: dict[str, Any]) -> None:
        assert value["done"] <= value["total"]


def test_only_a_folder_of_ours_is_deleted_from(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(forget_files.NotOursError, match="not a folder of ours"):
        forget_files.main({"target": str(tmp_path), "delete": ["file"]}, Silent())  # type: ignore[arg-type]
    (tmp_path / landing.CONTROL).mkdir()
    landing.write_marker(str(tmp_path), {"files": {"other": [0, 0, 0, 0, "x"]}})
    assert forget_files.main({"target": str(tmp_path), "delete": ["file", "other"]}, Silent()) == {"deleted": 1}  # type: ignore[arg-type]
    assert (tmp_path / "file").exists()
    with pytest.raises(ValueError, match="leaves its folder"):
        forget_files.main({"target": str(tmp_path), "delete": ["../x"]}, Silent())  # type: ignore[arg-type]


def test_nothing_is_deleted_through_a_link(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("somebody's")
    (target / landing.CONTROL).mkdir(parents=True)
    (target / "sub").symlink_to(outside)
    landing.write_marker(str(target), {"files": {"sub/a": [0, 0, 0, 0, "x"]}})
    forget_files.main({"target": str(target), "delete": ["sub/a"]}, Silent())  # type: ignore[arg-type]
    assert (outside / "a").exists()


def test_links_arrive_as_links_also_to_folders(cluster: Cluster, sync: Callable[..., Report]) -> None:
    source, target = cluster.datasets[0].source, Path(cluster.datasets[0].path)
    (source / "NAB" / "again.csv").symlink_to("one.csv")
    (source / "linked").symlink_to("NAB")
    (source / "datasets.csv").write_text(INDEX + "NAB,again,,linked/again.csv\n")
    assert sync().exit_code() == 0
    assert (target / "NAB" / "again.csv").readlink() == Path("one.csv")
    assert (target / "linked").readlink() == Path("NAB")
    assert (target / "linked" / "again.csv").read_text() == "NAB/one"
    assert sync().nodes[0].state == "ok"
    assert sync(select=["NAB/again"]).nodes[0].state == "ok"
    (target / "linked").unlink()
    (target / "linked").symlink_to("KDD")
    assert sync().nodes[0].state == "changed"
    assert (target / "linked").readlink() == Path("NAB")


def test_rights_do_not_depend_on_the_umask(cluster: Cluster, sync: Callable[..., Report]) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    folder = replace(cluster.datasets[0], mode=0o640, group=group)
    before = os.umask(0o077)
    try:
        assert sync(replace(cluster, datasets=(folder,))).exit_code() == 0
    finally:
        os.umask(before)
    target = Path(folder.path)
    assert (target / "NAB" / "one.csv").stat().st_mode & 0o7777 == 0o640
    assert (target / "NAB").stat().st_mode & 0o7777 == 0o750
    assert target.stat().st_mode & 0o7777 == 0o750


def test_a_group_that_is_not_there_is_named(cluster: Cluster, sync: Callable[..., Report]) -> None:
    folder = replace(cluster.datasets[0], group="no-such-group")
    report = sync(replace(cluster, datasets=(folder,)))
    assert "there is no group no-such-group" in str(report.nodes[0].error)


@pytest.mark.parametrize("most", [0, 256])
def test_a_file_that_changes_meanwhile_is_sent_again(
    cluster: Cluster, sync: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(hand, "MOST_FILES", most)
    file = cluster.datasets[0].source / "NAB" / "one.csv"
    real, times = feed._pieces, []

    def pieces(item: feed.Item) -> Any:
        if item.path == "NAB/one.csv" and len(times) < 1:
            times.append(file.write_text("changed meanwhile"))
        yield from real(item)

    monkeypatch.setattr(feed, "_pieces", pieces)
    report = sync()
    assert report.exit_code() == 0, report.nodes[0].error
    assert (Path(cluster.datasets[0].path) / "NAB" / "one.csv").read_text() == "changed meanwhile"
    assert sync().nodes[0].state == "ok"


@pytest.mark.parametrize("most", [0, 256])
def test_a_file_that_never_rests_is_an_error(
    cluster: Cluster, sync: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(hand, "MOST_FILES", most)
    file = cluster.datasets[0].source / "NAB" / "one.csv"
    real, times = feed._pieces, []

    def pieces(item: feed.Item) -> Any:
        if item.path == "NAB/one.csv":
            times.append(file.write_text(f"changed {len(times)}"))
        yield from real(item)

    monkeypatch.setattr(feed, "_pieces", pieces)
    report = sync()
    assert report.exit_code() == UsageError.exit_code
    assert "one.csv was changed while it was copied" in str(report.nodes[0].error)


def test_reading_is_told_in_bytes(cluster: Cluster, sync: Callable[..., Report]) -> None:
    events: list[dict[str, Any]] = []
    sync(on_event=events.append)
    read = [event for event in events if event["title"].startswith("read ")]
    assert read[-1]["done"] == sum(
        file.stat().st_size for file in cluster.datasets[0].source.rglob("*") if file.is_file()
    )
    events.clear()
    sync(on_event=events.append)
    assert not [event for event in events if event["title"].startswith("read ")]
