"""A glance at a folder tells that nothing has changed, and nothing else: whatever did change is looked at again."""

import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from lone import lone

from provisioning.errors import ChangedError
from provisioning.inventory import Cluster, DatasetFolder
from provisioning.node import landing, observe_datasets, tree
from provisioning.resources import datasets
from provisioning.resources.base import Difference
from provisioning.resources.datasets import Datasets
from provisioning.scan import glanced, scan

INDEX = "collection_name,dataset_name,train_path,test_path\nc,one,,a/one.csv\n"


@pytest.fixture(autouse=True)
def _old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been at rest for a while: these are written a moment ago."""
    monkeypatch.setattr(tree, "settled_at", lambda _: 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "one.csv").write_text("1,2\n")
    (folder / "a" / "link.csv").symlink_to("one.csv")
    (folder / "datasets.csv").write_text(INDEX)
    return folder


def _rewrite(folder: Path) -> None:
    (folder / "a" / "one.csv").write_text("3,4\n")


def _replace(folder: Path) -> None:
    (folder / "new").write_text("1,2\n")
    status = (folder / "a" / "one.csv").stat()
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "new").rename(folder / "a" / "one.csv")


def _back_dated(folder: Path) -> None:
    status = (folder / "a" / "one.csv").stat()
    _rewrite(folder)
    os.utime(folder / "a" / "one.csv", ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove(folder: Path) -> None:
    (folder / "a" / "one.csv").unlink()


def _add(folder: Path) -> None:
    (folder / "a" / "b" / "two.csv").write_text("5\n")


def _lead_elsewhere(folder: Path) -> None:
    (folder / "a" / "link.csv").unlink()
    (folder / "a" / "link.csv").symlink_to("../datasets.csv")


CHANGES = [_rewrite, _replace, _back_dated, _remove, _add, _lead_elsewhere]


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_the_drivers_folder_is_missed(
    source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    scan(source, cache=tmp_path / "cache", conclude=lambda manifest: {"digest": manifest.digest})
    assert glanced(source, tmp_path / "cache") == {"digest": scan(source).digest}
    change(source)
    assert glanced(source, tmp_path / "cache") is None


def test_what_changes_within_a_tick_of_the_clock_is_not_believed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    scan(source, cache=cache, conclude=lambda _: {"digest": "of then"})
    next(cache.glob("*.glance")).unlink()
    monkeypatch.undo()
    (source / "a" / "b" / "new.csv").write_text("6\n")  # now; and time passes until all of it has been read
    scan(source, cache=cache, progress=lambda _: time.sleep(0.03), conclude=lambda _: {"digest": "of now"})
    assert list(cache.glob("*.glance")) == []


@pytest.mark.parametrize(
    ("ctime", "settled"), [(5_000_000_000, 7_000_000_000), (5_000_000_001, 5_020_000_001), (0, 2_000_000_000)]
)
def test_a_stamp_tells_of_later_changes_when_the_clock_has_moved_on(
    monkeypatch: pytest.MonkeyPatch, ctime: int, settled: int
) -> None:
    monkeypatch.undo()
    assert tree.settled_at(ctime) == settled


@pytest.mark.parametrize("harm", [b"", b"{}\n", b"[]\n", b'{"schema":"timeeval.glance/1"}\n', bytes(1 << 16)])
def test_a_damaged_glance_is_none(source: Path, tmp_path: Path, harm: bytes) -> None:
    cache = tmp_path / "cache"
    scan(source, cache=cache, conclude=lambda _: {"digest": "x"})
    (file,) = cache.glob("*.glance")
    whole = file.read_bytes()
    for damaged in (harm, whole[:-1], whole[: len(whole) // 2], whole + b"\0more"):
        file.write_bytes(damaged)
        assert glanced(source, cache) is None
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(whole)
    assert glanced(source, cache) is None


@pytest.fixture
def cluster(source: Path, tmp_path: Path) -> Cluster:
    return lone(
        tmp_path, "local", name="lab", datasets=(DatasetFolder(source, PurePosixPath(tmp_path / "node" / "data")),)
    )


def _desired(cluster: Cluster, tmp_path: Path) -> datasets.Folder:
    (folder,) = Datasets(tmp_path / "cache").desired(cluster, {}, None)
    return folder


def test_a_folder_in_which_nothing_changed_is_not_read(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _desired(cluster, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("provisioning.resources.datasets.scan", lambda *_, **__: pytest.fail("it was read"))
        again = _desired(cluster, tmp_path)
        assert (again.digest, again.parts) == (first.digest, first.parts)
        node, path = cluster.nodes[0], str(cluster.datasets[0].path)
        seen = {"exists": True, "marked": True, "digest": first.digest, "proven": True, "failed": {}}
        observed = {"environment": False, "rsync": None, "folders": {path: seen}}
        assert Datasets(delete=True).difference(cluster, node, observed, (again,)) == Difference()
    assert (again.manifest, again.ids) == (first.manifest, (("c", "one"),))


def test_a_folder_that_changes_behind_the_glance_is_told(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    _desired(cluster, tmp_path)
    again = _desired(cluster, tmp_path)
    _rewrite(source)
    with pytest.raises(ChangedError, match="was changed while this command ran"):
        again.manifest  # noqa: B018 - reading it is what is tested


def test_a_listed_file_outside_of_the_folder_is_looked_for_each_time(
    cluster: Cluster, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.csv").write_text("1\n")
    (source / "datasets.csv").write_text(INDEX + "c,two,,../other.csv\n")
    assert _desired(cluster, tmp_path).digest
    assert glanced(source, tmp_path / "cache" / "digests") is None


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """Return a node's folder of ours."""
    folder = tmp_path / "placed"
    (folder / landing.CONTROL).mkdir(parents=True)
    (folder / "a").mkdir()
    (folder / "a" / "one.csv").write_text("1,2\n")
    rows, _ = tree.rows(str(folder), ["a/one.csv"], {})
    landing.write_marker(str(folder), {"files": rows})
    return folder


def _observed(folder: Path, digest: str, *, deep: bool = False) -> dict[str, object]:
    asked = {"path": str(folder), "digest": digest, "parts": [""], "files": None}
    answer = observe_datasets.observe({"python": None, "proofs": "/none", "folders": [asked], "deep": deep})
    seen: dict[str, object] = answer["folders"][str(folder)]
    return seen


def test_a_node_reads_nothing_where_nothing_changed(placed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = str(_observed(placed, "")["digest"])
    first = _observed(placed, digest)
    monkeypatch.setattr(landing, "read_marker", lambda _: pytest.fail("the rows were read"))
    again = _observed(placed, digest)
    for answer in (first, again):
        answer.pop("free")
        answer.pop("inodes")
    assert again == first
    with pytest.raises(pytest.fail.Exception):
        _observed(placed, digest, deep=True)


@pytest.mark.parametrize("change", [_rewrite, _replace, _back_dated, _remove])
def test_no_change_of_a_nodes_folder_is_missed(placed: Path, change: Callable[[Path], None]) -> None:
    digest = str(_observed(placed, "")["digest"])
    assert _observed(placed, digest)["digest"] == digest
    assert landing.glanced(str(placed))["digest"] == digest
    change(placed)
    assert landing.glanced(str(placed)) == {}
    assert (_observed(placed, digest)["digest"] == digest) is (change is _replace)


def test_another_marker_makes_a_glance_void(placed: Path) -> None:
    digest = str(_observed(placed, "")["digest"])
    _observed(placed, digest)
    landing.write_marker(str(placed), {"files": {}})
    assert landing.glanced(str(placed)) == {}


@pytest.mark.parametrize("glances", [True, False])
def test_where_a_folder_differs_is_known_without_hashing_its_parts(
    placed: Path, monkeypatch: pytest.MonkeyPatch, glances: bool
) -> None:
    for number in range(9):
        (placed / f"{number}.csv").write_text(f"{number}\n")
    rows, _ = tree.rows(str(placed), ["a/one.csv", *(f"{number}.csv" for number in range(9))], {})
    landing.write_marker(str(placed), {"files": rows})
    entries = [(path, row[0], row[4]) for path, row in rows.items()]
    digest, parts = tree.content_digest(entries), tree.part_digests(entries, 4)
    asked = {"path": str(placed), "digest": digest, "parts": parts, "files": None}
    question = {"python": None, "proofs": "/none", "folders": [asked], "deep": False}
    observe_datasets.observe(question)
    asked.update(digest="another", parts=[parts[0], "another", *parts[2:]])
    if glances:
        monkeypatch.setattr(tree, "part_digest", lambda _: pytest.fail("a part was hashed"))
    else:
        (placed / landing.CONTROL / "glance").unlink()
    seen = observe_datasets.observe(question)["folders"][str(placed)]
    assert (seen["digest"], seen["parts"]) == (digest, [1])
    assert seen["rows"] == sorted(list(entry) for entry in entries if tree.part_of(entry[0], 4) == 1)
