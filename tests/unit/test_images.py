"""Images: what a node lacks by what its engine and the driver's say, without an engine."""

from pathlib import PurePosixPath

import pytest

from provisioning.errors import UsageError
from provisioning.inventory import Cluster, Image, Node
from provisioning.resources.base import Needs
from provisioning.resources.images import ImagesResource
from provisioning.resources.images.build import Built
from provisioning.resources.images.wanted import ImagesPlan

ONE = Built("lab/one:1", "sha256:1", "p1", "classic", "amd64", ("sha256:a", "sha256:b"), 100)
TWO = Built("lab/two:1", "sha256:2", "p2", "classic", "amd64", ("sha256:a",), 50)
PLAN = ImagesPlan({ONE.name: ONE, TWO.name: TWO})
NODE = Node("node1")
ROOM = {
    "exists": True,
    "directory": True,
    "nearest": "/srv",
    "writable": True,
    "free": 10**9,
    "inodes": -1,
    "device": 1,
}
THERE = {ONE.name: {"id": "sha256:1", "print": "p1"}, TWO.name: {"id": "sha256:2", "print": "p2"}}


def cluster(tmp_path):
    return Cluster(
        name="lab",
        file=tmp_path / "cluster.toml",
        nodes=(NODE,),
        driver=NODE,
        scheduler=NODE,
        results=PurePosixPath("/r"),
        state=PurePosixPath("/s"),
        known_hosts=tmp_path / "known_hosts",
        images=(Image("lab/one:1"), Image("lab/two:1")),
    )


def difference(tmp_path, *, store="classic", machine="x86_64", **observed):
    seen = {"engine": {"store": store, "machine": machine}, "images": THERE, "ids": [], "store": []}
    seen |= {"chains": [], "refused": {}, "zstd": True, "memory": 10**9}
    seen |= {"room": ROOM, "store_room": ROOM} | observed
    return ImagesResource().difference(cluster(tmp_path), NODE, seen, PLAN)


def test_equal_images_leave_nothing_to_do(tmp_path):
    assert difference(tmp_path).empty


def test_a_store_of_another_kind_gives_other_ids_to_the_same_images(tmp_path):
    renamed = {name: {"id": "sha256:manifest", "print": seen["print"]} for name, seen in THERE.items()}
    assert difference(tmp_path, store="containerd", images=renamed).empty
    assert not difference(tmp_path, images=renamed).empty


def test_what_is_there_under_another_name_is_tagged_and_not_sent(tmp_path):
    found = difference(tmp_path, images={**THERE, ONE.name: None}, ids=["sha256:1", "sha256:2"])
    assert [dict(change.detail) for change in found.changes] == [{"tag": {ONE.name: ONE.id}}]
    assert found.size == 0


def test_what_is_missing_is_sent_and_what_is_replaced_is_said(tmp_path):
    found = difference(tmp_path, images={**THERE, ONE.name: {"id": "sha256:9", "print": "p9"}})
    assert found.changes[0].title == "load 1 images, 1 of them in place of others: lab/one:1"
    assert found.size == 100


def test_no_engine_another_architecture_and_a_full_disk_are_findings(tmp_path):
    found = difference(tmp_path, engine=None, why="no permission", remedy="add this user to the group docker")
    assert found.blocked
    assert not found.changes
    assert found.findings[0].remedy == "add this user to the group docker"
    found = difference(tmp_path, machine="aarch64", images={})
    assert "built for amd64, the node is aarch64" in found.findings[0].message
    found = difference(tmp_path, images={}, room=ROOM | {"free": 199, "device": 2}, store_room=ROOM | {"free": 99})
    assert [finding.message.split(" bytes")[0] for finding in found.findings] == ["200", "100"]


def test_an_experiment_may_only_use_images_that_the_cluster_file_names(tmp_path):
    resource = ImagesResource()
    asked = resource.question(cluster(tmp_path), NODE, Needs(images=("docker.io/lab/two:1",)))
    assert asked["names"] == ["lab/two:1"]
    with pytest.raises(UsageError, match="uses the image lab/three, which"):
        resource.question(cluster(tmp_path), NODE, Needs(images=("lab/three",)))
