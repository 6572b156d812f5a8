"""Ways of images other than loading, as far as no engine is needed: what is allowed, what is due, what is proven."""

import dataclasses
import json
import os
import socket
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest

from provisioning.errors import ProvisionError, UsageError
from provisioning.gate import quick
from provisioning.inventory import Cluster, Image, Node, Push
from provisioning.node import serve_registry
from provisioning.node.proven_images import creates
from provisioning.node.tools import RefusedError
from provisioning.receipt import Receipt, by_context, save
from provisioning.resources.base import Needs
from provisioning.resources.images import ImagesResource, context, ways
from provisioning.resources.images.build import Built
from provisioning.resources.images.recipes import Recipe, bases_of
from provisioning.resources.images.registry import Named, Own, _path
from provisioning.resources.images.wanted import ImagesPlan
from provisioning.resources.images.ways import Way
from timeeval.errors import TimeEvalError
from timeeval.proof import Claim, Proof
from timeeval.run.standing import Standing

BASE = Built("lab/base:1", "sha256:0", "p0", "classic", "amd64", ("sha256:a",), 50)
RECIPE = Recipe("lab/one:1", None, "d1", (BASE,))
NODE = Node("node1")
BUILD = Way("build")
ROOM = {"writable": True, "free": 10**9, "device": 1, "nearest": "/srv"}
MADE = {"id": "sha256:9", "print": "p9", "context": "d1", "layers": ["sha256:a", "sha256:b"]}
THERE_BASE = {"id": "sha256:0", "print": "p0", "context": None, "layers": ["sha256:a"]}


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "Dockerfile").write_text("FROM lab/base:1\nCOPY . /app\n")
    return Cluster(
        name="lab",
        file=tmp_path / "cluster.toml",
        nodes=(NODE,),
        driver=NODE,
        scheduler=NODE,
        results=PurePosixPath("/r"),
        state=PurePosixPath("/s"),
        known_hosts=tmp_path / "known_hosts",
        images=(Image("lab/one:1", tmp_path / "one"),),
        push=Push(by_context=True),
    )


def difference(cluster, images, way=BUILD, store=()):
    seen = {"engine": {"store": "classic", "machine": "x86_64"}, "images": images, "ids": [], "store": list(store)}
    seen |= {"chains": [], "refused": {}, "zstd": True, "memory": 10**9, "room": ROOM, "store_room": ROOM}
    built = {BASE.name: BASE} if way.via == "build" else {"lab/one:1": dataclasses.replace(BASE, name="lab/one:1")}
    plan = ImagesPlan(built, {}, 10**9, {RECIPE.name: RECIPE} if way.via == "build" else {}, way)
    return ImagesResource(way).difference(cluster, NODE, seen, plan)


# --- what is allowed --------------------------------------------------------------------------------------------------


def test_a_command_line_goes_before_the_cluster_file(cluster):
    assert ways.chosen(cluster) == Way("load")
    assert ways.chosen(cluster, "registry", "registry.lab:5000/team") == Way("registry", "registry.lab:5000/team")
    named = dataclasses.replace(cluster, push=Push("registry", "registry.lab:5000"))
    assert ways.chosen(named) == Way("registry", "registry.lab:5000")
    assert ways.chosen(named, "own-registry") == Way("own-registry")
    assert ways.chosen(cluster, "build") == Way("build")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("registry", None), "does not say which"),
        ((None, "registry.lab"), "without --via registry"),
        (("load", "registry.lab"), "without --via registry"),
        (("registry", "-evil"), "is not a registry"),
        (("registry", "a b"), "is not a registry"),
    ],
)
def test_what_does_not_belong_together_is_refused(cluster, said, why):
    with pytest.raises(UsageError, match=why):
        ways.chosen(cluster, *said)


def test_building_on_nodes_needs_leave_of_the_cluster_file(cluster):
    with pytest.raises(UsageError, match="equal by context, not by content"):
        ways.chosen(dataclasses.replace(cluster, push=Push()), "build")


def test_a_base_that_an_argument_names_proves_nothing(tmp_path):
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE} AS first\nFROM lab/base:1\n")
    with pytest.raises(UsageError, match=r"builds on \$\{BASE\}"):
        bases_of(Image("lab/one:1", tmp_path))
    assert bases_of(Image("lab/one:1")) == ()


# --- what is due ------------------------------------------------------------------------------------------------------


def test_a_context_and_the_bases_that_lack_travel_and_are_built_on(cluster):
    found = difference(cluster, {})
    assert [sorted(change.detail) for change in found.changes] == [["load"], ["build"]]
    assert found.changes[0].detail["load"]["images"] == [BASE.name]
    assert found.changes[1].detail["build"] == {"lab/one:1": None}
    assert "equal by context, not by content" in found.changes[1].title
    (only,) = difference(cluster, {BASE.name: THERE_BASE}, store=[["0" * 16 + "/d1.context.tar", 9]]).changes
    assert only.detail["build"] == {"lab/one:1": "0" * 16 + "/d1.context.tar"}


def test_a_build_counts_with_the_same_context_on_the_same_base(cluster):
    assert difference(cluster, {"lab/one:1": MADE}).empty
    assert difference(cluster, {"lab/one:1": MADE, BASE.name: None}).empty
    assert not difference(cluster, {"lab/one:1": MADE | {"context": "d2"}, BASE.name: THERE_BASE}).empty
    assert not difference(cluster, {"lab/one:1": MADE | {"layers": ["sha256:c", "sha256:b"]}}).empty


def test_what_is_pulled_is_named_with_where_from(cluster):
    (change,) = difference(cluster, {}, Way("registry", "registry.lab:5000")).changes
    assert change.title == "pull 1 images from registry.lab:5000: lab/one:1"
    assert change.detail == {"pull": ["lab/one:1"]}


def test_a_name_leaves_its_own_registry_behind():
    assert [_path(name) for name in ("one:1", "lab/one:1", "ghcr.io/lab/one:1", "localhost/one:1", "r:5/a/b:1")] == [
        "one:1",
        "lab/one:1",
        "lab/one:1",
        "one:1",
        "a/b:1",
    ]
    named = Named("registry.lab")
    named._digests["lab/one:1"] = "lab/one@sha256:1"
    assert named.reference(NODE, "lab/one:1") == "registry.lab/lab/one@sha256:1"
    assert named.loopback(NODE) is None


def test_packed_contexts_are_equal_for_equal_content(cluster, tmp_path):
    recipe = dataclasses.replace(RECIPE, folder=tmp_path / "one")
    entry = recipe.packed(tmp_path / "store")
    assert entry.path.endswith("/d1.context.tar")
    assert recipe.packed(tmp_path / "store") == entry
    with (tmp_path / "store" / entry.path).open("rb") as packed:
        assert len(context.digest(packed, {})) == 64


# --- what is proven ---------------------------------------------------------------------------------------------------


def receipt(node="node1", *, image="sha256:1", equal_by="context:d1"):
    empty = dict.fromkeys(("kernel", "machine", "libc"), "")
    nothing = dict.fromkeys(("python", "prefix", "lock", "docker"))
    return Receipt(
        cluster="lab",
        node=node,
        time=1.0,
        tool="0",
        machine_id="m",
        boot_id="b",
        clock_offset=0.0,
        environment="e",
        datasets={},
        images={"lab/one:1": image},
        equal_by={"lab/one:1": equal_by} if equal_by else {},
        **empty,
        **nothing,
    )


def proof(*receipts):
    claim = Claim("ssh", True, lambda node: f"mend {node}", "mend all")
    images = {"lab/one:1": lambda proven, name: proven.images.get(name)}
    return Proof.of({each.node: each for each in receipts}, images, {}, [], claim)


def test_a_receipt_says_how_an_image_is_equal_and_older_ones_are_read():
    assert by_context(receipt(), ["lab/one:1"]) == ["lab/one:1"]
    assert by_context(receipt(equal_by="content:p1"), ["lab/one:1"]) == []
    document = json.loads(json.dumps(receipt().to_json()))
    assert Receipt.from_json(document).common("docker.io/lab/one:1") == "context:d1"
    del document["equal_by"]
    assert by_context(Receipt.from_json(document), ["lab/one:1"]) == []


def test_the_gate_refuses_what_was_only_built_alike_unless_the_file_allows_it(cluster):
    strict = dataclasses.replace(cluster, push=Push())
    save(strict, receipt())
    error = quick(strict, [NODE], Needs(images=("lab/one:1",)))["node1"]
    assert "lab/one:1; cluster.toml does not allow that" in str(error)


def test_hosts_that_built_it_themselves_share_its_context_and_start_their_own():
    found = proof(receipt(), receipt("node2", image="sha256:2"))
    assert found.image_ids == {"lab/one:1": "context:d1"}
    assert found.by_context == ("lab/one:1",)
    assert found.to_json()["image_equality"] == {"lab/one:1": "equal by context, not by content"}
    asked = []
    standing = Standing(found.standings["node2"], lambda name: asked.append(name) or "sha256:2")
    assert standing.start_ids(found.image_ids) == {"lab/one:1": "sha256:2"}
    assert standing._image("lab/one:1", "context:d1") == ""
    assert asked == ["lab/one:1"]
    other = Standing(found.standings["node1"], lambda _name: "sha256:2")
    assert other._image("lab/one:1", "context:d1") == "the image lab/one:1"


def test_stores_that_name_one_content_differently_are_equal_by_content():
    found = proof(receipt(equal_by="content:p1"), receipt("node2", image="sha256:2", equal_by="content:p1"))
    assert found.image_ids == {"lab/one:1": "content:p1"}
    assert found.to_json()["image_equality"] == {"lab/one:1": "equal by content"}
    same = proof(receipt(equal_by="content:p1"), receipt("node2", equal_by="content:p1"))
    assert same.image_ids == {"lab/one:1": "sha256:1"}


@pytest.mark.parametrize("other", ["context:d2", "content:p1", ""])
def test_what_was_built_of_other_things_is_not_one_image(other):
    with pytest.raises(TimeEvalError, match="different things"):
        proof(receipt(), receipt("node2", image="sha256:2", equal_by=other))


# --- a registry of our own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("listens", "why"), [(True, "does not share its loopback"), (False, "cannot be pushed to")])
def test_an_engine_of_the_driver_with_a_loopback_of_its_own_is_named(cluster, tmp_path, monkeypatch, listens, why):
    (tmp_path / "docker").write_text(
        "#!/bin/sh\n[ $1 != push ] || { echo 'dial tcp: connect: connection refused' >&2; exit 1; }\n"
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = Own(cluster)
        own._here = server.getsockname()[1]
        if not listens:
            server.close()
        with pytest.raises(ProvisionError, match=why):
            own.push([BASE])


def test_a_registry_without_a_program_or_an_image_is_absent(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = []
    channel = SimpleNamespace(event=said.append)
    assert serve_registry.main({"state": str(tmp_path / "state"), "load": False}, channel) == {}
    assert said[0]["absent"].startswith("there is no docker-registry and no image registry:2")
    assert not (tmp_path / "state").exists()


def test_what_a_killed_registry_left_is_swept(tmp_path):
    dead = tmp_path / "registry-dead"
    dead.mkdir()
    (dead / "pid").write_text("1")
    os.utime(dead, (1, 1))
    fresh = tmp_path / "registry-fresh"
    fresh.mkdir()
    serve_registry._sweep(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["registry-fresh"]


def test_a_registry_serves_until_it_is_told_to_end_and_leaves_nothing(tmp_path, monkeypatch):
    program = tmp_path / "docker-registry"
    program.write_text("#!/bin/sh\necho starting >&2\necho 'listening on 127.0.0.1:4711' >&2\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said = []
    channel = SimpleNamespace(event=said.append, receive=lambda: {"do": "end"})
    assert serve_registry.main({"state": str(tmp_path / "state"), "load": False}, channel) == {}
    assert said == [{"port": 4711}]
    assert not (tmp_path / "state").exists()
    program.write_text("#!/bin/sh\necho 'it is broken' >&2\n")
    with pytest.raises(RefusedError, match="docker-registry does not start: it is broken"):
        serve_registry.main({"state": str(tmp_path / "state"), "load": False}, channel)


def test_a_container_that_only_proves_leaves_no_volume(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n[ $1 != create ] || echo c1\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    creates("lab/one:1")
    assert (tmp_path / "said").read_text().splitlines()[1] == "rm --force --volumes c1"
