"""Receipts and the gate: what a receipt covers, and what a short look notices."""

import dataclasses
import hashlib
import json
import re
from pathlib import PurePosixPath

import pytest
from lone import lone

from provisioning import receipt as receipts
from provisioning.errors import NotVerifiedError, ProvisionError
from provisioning.gate import quick
from provisioning.inventory import DatasetFolder
from provisioning.launch import open_session
from provisioning.receipt import Proven, Receipt, covers, disagreements, image_id, load, placed, question, save
from provisioning.resources.base import DatasetNeed, Needs

RECEIPT = Receipt(
    cluster="lab",
    node="here",
    time=1000.0,
    tool="0.1.0",
    machine_id="m",
    boot_id="b",
    kernel="6.1",
    machine="x86_64",
    libc="glibc 2.36",
    clock_offset=0.01,
    python="3.11.2",
    prefix="/srv/env",
    lock="l",
    environment="e",
    docker={"version": "20.10", "store": "classic"},
    datasets={"/srv/data": Proven("d", {"a.csv": ("aa", 3, 5, 7, 9), "b.csv": ("bb", 3, 5, 7, 9)})},
    images={"timeeval/one:latest": "sha256:1"},
    modules=("mine",),
    worker={"python": "3.11.2"},
    records={"/srv/env/lib/python3.11/site-packages/one-1.dist-info/RECORD": ("cc", 3, 5, 7, 9)},
)


def need(*files, path="/srv/data"):
    return Needs(datasets=(DatasetNeed(PurePosixPath(path), (("c", "d"),), files),))


def seen(**changed):
    return {
        "machine_id": "m",
        "boot_id": "b",
        "environment": {"identity": "e", "edited": []},
        "files": {"/srv/data": {"a.csv": [3, 5, 7, 9]}},
        "images": {"timeeval/one:latest": "sha256:1"},
        "why": "",
    } | changed


@pytest.fixture
def cluster(tmp_path):
    return lone(
        tmp_path, "here", name="lab", datasets=(DatasetFolder(tmp_path / "source", PurePosixPath(tmp_path / "data")),)
    )


def test_a_receipt_survives_its_file(cluster):
    assert load(cluster, cluster.nodes[0]) is None
    save(cluster, RECEIPT)
    assert load(cluster, cluster.nodes[0]) == RECEIPT
    assert (receipts.folder(cluster) / "here.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "timeeval.receipt/1"}', '{"schema": "timeeval.receipt/9"}']
)
def test_a_damaged_receipt_is_no_receipt(cluster, text):
    save(cluster, RECEIPT)
    (receipts.folder(cluster) / "here.json").write_text(text)
    with pytest.raises(ProvisionError, match="cannot be read"):
        load(cluster, cluster.nodes[0])


def test_a_receipt_without_the_times_of_files_is_read_as_none(cluster):
    document = RECEIPT.to_json()
    document["datasets"]["/srv/data"]["files"]["a.csv"] = ["aa", 3, 5, 7]
    with pytest.raises(ValueError, match="not a receipt"):
        Receipt.from_json(document)


def test_a_receipt_covers_what_was_proven_and_names_what_was_not():
    assert covers(RECEIPT, need("a.csv")) == []
    assert covers(RECEIPT, need("a.csv", "c.csv")) == ["datasets in /srv/data were not verified: c.csv"]
    assert covers(RECEIPT, need("a.csv", path="/other")) == ["datasets in /other were not verified: a.csv"]
    assert covers(RECEIPT, Needs(images=("timeeval/one", "docker.io/timeeval/one:latest"), modules=("mine",))) == []
    assert covers(RECEIPT, Needs(images=("timeeval/one:2",))) == ["images were not verified: timeeval/one:2"]
    (line,) = covers(RECEIPT, Needs(modules=("yours",)))
    assert line.startswith("the environment has no module yours: name what provides it in [environment] requirements")
    assert covers(dataclasses.replace(RECEIPT, environment=None), Needs()) == ["the environment was not verified"]


def test_an_image_is_found_however_its_name_is_written():
    assert image_id(RECEIPT, "timeeval/one") == image_id(RECEIPT, "docker.io/timeeval/one:latest") == "sha256:1"
    assert image_id(RECEIPT, "timeeval/two") is None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, None),
        ({"boot_id": "c"}, "started anew"),
        ({"machine_id": "n", "boot_id": "c"}, "another machine"),
        ({"environment": {"identity": "f", "edited": []}}, "packages in /srv/env are not"),
        ({"environment": {"identity": "e", "edited": ["x.py was changed"]}}, "x.py was changed"),
        ({"files": {"/srv/data": {"a.csv": [3, 5, 8, 9]}}}, "files in /srv/data changed .*a.csv"),
        ({"files": {"/srv/data": {"a.csv": [3, 5, 7, 10]}}}, None),
        ({"files": {"/srv/data": {"a.csv": None}}}, "files in /srv/data changed .*a.csv"),
        ({"images": {"timeeval/one:latest": "sha256:2"}}, "images are not the ones"),
        ({"images": {"timeeval/one:latest": None}}, "images are not the ones"),
        ({"images": {}, "why": "no engine"}, "no engine"),
    ],
)
def test_what_changed_since_is_said_in_one_line(changed, line):
    lines = disagreements(RECEIPT, seen(**changed))
    if line is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert re.search(line, lines[0])


def test_needs_name_the_source_of_a_folder_or_its_place(cluster, tmp_path):
    (tmp_path / "source").mkdir()
    for path in (tmp_path / "source", tmp_path / "data"):
        assert placed(cluster, need("a.csv", path=str(path))).datasets[0].path == PurePosixPath(tmp_path / "data")
    assert placed(cluster, need("a.csv", path="/else")).datasets[0].path == PurePosixPath("/else")


def test_the_gate_holds_until_something_changes(cluster, tmp_path):
    node = cluster.nodes[0]
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("1,2\n")
    wishes = need("a.csv", path=str(data))
    refused = quick(cluster, [node], wishes)["here"]
    assert isinstance(refused, NotVerifiedError)
    assert "never verified" in refused.message
    with open_session(cluster, node) as session:
        look = session.call("provisioning.node.look", question(cluster, {str(data): ["a.csv"]}, []))
    files = {"a.csv": ("aa", *look["files"][str(data)]["a.csv"])}
    here = {"machine_id": look["machine_id"], "boot_id": look["boot_id"]}
    proof = dataclasses.replace(RECEIPT, datasets={str(data): Proven("d", files)}, **here)
    save(cluster, proof)
    assert quick(cluster, [node], wishes) == {"here": proof}
    (data / "a.csv").write_text("1,3\n")
    refused = quick(cluster, [node], wishes)["here"]
    assert isinstance(refused, NotVerifiedError)
    assert "a.csv" in refused.message


def test_the_document_is_plain_json():
    assert json.loads(json.dumps(RECEIPT.to_json()))["schema"] == "timeeval.receipt/1"


def test_a_look_at_an_environment_names_the_record_of_each_package(cluster, tmp_path):
    folder = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name in ("one-1.dist-info", "two-2.dist-info"):
        (folder / name).mkdir(parents=True)
        (folder / name / "METADATA").write_text(f"Name: {name[:3]}\nVersion: {name[4]}\n")
    (folder / "one-1.dist-info" / "RECORD").write_text("one.py,sha256=abc,3\n")
    with open_session(cluster, cluster.nodes[0]) as session:
        look = session.call("provisioning.node.look", {"prefix": str(tmp_path / "env"), "files": {}, "images": []})
    record = folder / "one-1.dist-info" / "RECORD"
    status = record.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]
    assert look["environment"]["records"] == {str(record): [hashlib.sha256(record.read_bytes()).hexdigest(), *stamp]}
