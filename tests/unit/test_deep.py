"""A deep look: every byte is read again, and what differs is named to the file with the command that mends it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from lone import lone

from provisioning import mending, verify
from provisioning.inventory import Cluster, DatasetFolder
from provisioning.node import landing, rehash_images, tree
from provisioning.plan import Job, run
from provisioning.report import NodeReport, Report
from provisioning.resources.base import Change
from provisioning.resources.datasets import Datasets
from provisioning.transfer.star import Star

INDEX = "collection_name,dataset_name,train_path,test_path\nNAB,one,,NAB/one.csv\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    source = tmp_path / "source"
    (source / "NAB").mkdir(parents=True)
    (source / "NAB" / "one.csv").write_text("timestamp,value,is_anomaly\n1,2,0\n")
    (source / "datasets.csv").write_text(INDEX)
    return lone(tmp_path, datasets=(DatasetFolder(source, PurePosixPath(tmp_path / "data")),))


@pytest.fixture
def look(cluster: Cluster, tmp_path: Path) -> Callable[..., tuple[Job, Report]]:
    def go(**options: Any) -> tuple[Job, Report]:
        job = Job(cluster, cluster.nodes, [Datasets(tmp_path / "cache")], Star(), **options)
        return job, run(job)

    return go


def rot(folder: Path, path: str) -> None:
    """Change a byte as a failing disk does: neither size nor times tell of it."""
    text = (folder / path).read_bytes()
    (folder / path).write_bytes(text[:-2] + b"1\n")
    marker = landing.read_marker(str(folder))
    assert marker is not None
    marker["files"][path][:4] = tree.row_of(str(folder), path)[:4]
    landing.write_marker(str(folder), marker)


def test_rotten_datasets_are_named_to_the_file_and_mended(
    cluster: Cluster, look: Callable[..., tuple[Job, Report]]
) -> None:
    look()
    data = Path(cluster.datasets[0].path)
    rot(data, "NAB/one.csv")
    job, report = look(dry_run=True, deep=True)
    node = verify.prove(job, {}, report).nodes[0]
    assert f"{data}/NAB/one.csv holds other bytes" in str(node.error)
    assert f"timeeval-provision sync-datasets --deep --cluster {cluster.file}" in str(node.error)
    assert look()[1].nodes[0].state == "changed"
    assert (data / "NAB" / "one.csv").read_text().endswith("1,2,0\n")
    assert look(deep=True)[1].nodes[0].state == "ok"


def test_a_missing_file_is_not_a_changed_one() -> None:
    change = Change("a", "datasets", "copy 2 files", detail={"path": "/d", "missing": ["x.csv", "y.csv"]})
    facts = {"datasets": {"folders": {"/d": {"rows": [["x.csv", 1, "aa"]]}}}}
    lines = mending.differing(NodeReport("a", due=(change,), facts=facts))
    assert lines == ["/d/x.csv holds other bytes", "/d/y.csv is missing"]


def test_edited_packages_are_all_named_and_other_packages_by_their_change() -> None:
    edited = [f"lib/{number}.py was changed" for number in range(5)]
    facts = {"environment": {"environment": {"edited": edited, "identity": "i"}}}
    change = Change("a", "environment", f"install 3 packages at /e ({edited[0]}; {edited[1]} and 3 more)")
    assert mending.differing(NodeReport("a", due=(change,), facts=facts)) == [f"environment: {e}" for e in edited]
    other = Change("a", "environment", "install 3 packages at /e (other packages are there: numpy)")
    assert mending.differing(NodeReport("a", due=(other,), facts=facts)) == [f"environment: {other.title}"]
    assert mending.summary(edited).endswith("lib/2.py was changed; and 2 more")


@pytest.mark.parametrize(
    ("resources", "deep", "verb"),
    [
        (["images"], True, "push-images"),
        (["environment"], True, "create-envs --deep"),
        (["datasets"], False, "sync-datasets"),
        (["datasets", "environment"], True, "up --deep"),
    ],
)
def test_one_command_mends_it(cluster: Cluster, resources: list[str], deep: bool, verb: str) -> None:
    node = NodeReport("a", due=tuple(Change("a", name, "do it") for name in resources))
    assert mending.command(cluster, node, deep=deep) == f"timeeval-provision {verb} --cluster {cluster.file}"


class Silent:
    def event(self, value: dict[str, Any]) -> None:
        assert value["title"]


def saved(members: dict[str, bytes], links: dict[str, str], layers: list[str]) -> bytes:
    """What ``docker save`` writes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, body in {**members, "manifest.json": json.dumps([{"Layers": layers}]).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return out.getvalue()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], None]:
    """Put a `docker` in the way that writes a given archive; that real engines write such ones the sandbox tests."""

    def install(archive: bytes, status: int = 0) -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "archive").write_bytes(archive)
        program = tmp_path / "bin" / "docker"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/archive; echo so it ended >&2; exit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return install


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def test_layers_are_read_in_the_forms_that_engines_write(engine: Callable[..., None]) -> None:
    small, large = b"small layer", os.urandom(1 << 23)
    members = {"a/layer.tar": small, "blobs/sha256/b": gzip.compress(large), "./c/layer.tar": large}
    names = ["a/layer.tar", "blobs/sha256/b", "c/layer.tar", "d/layer.tar"]
    engine(saved(members, {"d/layer.tar": "../a/layer.tar"}, names))
    reading = rehash_images._Reading(Silent(), "read")  # type: ignore[arg-type]
    assert reading.read("x") == ""
    wanted = [digest(small), digest(large), digest(large), digest(small)]
    assert reading.lacking(wanted) == ""
    assert "layer 2 of 4 holds other bytes" in reading.lacking([wanted[0], digest(b""), *wanted[2:]])
    assert "4 layers are there, 3 were to be" in reading.lacking(wanted[:3])


def test_an_engine_that_cannot_write_an_image_is_quoted(engine: Callable[..., None]) -> None:
    engine(saved({"a": b"x"}, {}, ["a"])[:700], 1)
    assert "so it ended" in rehash_images._Reading(Silent(), "read").read("x")  # type: ignore[arg-type]
