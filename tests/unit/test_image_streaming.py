"""A first push while it is packed, without an engine: what travels, what is given to the engine, what is kept."""

import hashlib
import json
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_image_layers import MUCH, digest, layer_of, noise

from provisioning.errors import ProvisionError
from provisioning.node import receive_layers
from provisioning.node.layers import chains
from provisioning.node.pack import unpacked
from provisioning.resources.images import streaming
from provisioning.resources.images.build import Built
from provisioning.resources.images.order import Order
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.saving import WrongLayerError
from provisioning.resources.images.shipment import Receiver
from provisioning.resources.images.streaming import Stream, foremost, worthwhile
from provisioning.transfer.feed import Throttle

CONTENTS = [layer_of({"a": noise(seed)}) for seed in range(3)]
LAYERS = tuple(digest(content) for content in CONTENTS)
ONE = Built("lab/one:1", digest(b"1"), "p1", "classic", "amd64", LAYERS[:2], 64 << 20)
TWO = Built("lab/two:1", digest(b"2"), "p2", "classic", "amd64", (LAYERS[0], LAYERS[2]), 64 << 20)


class Channel:
    """A line that carries what was packed."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.events = []

    def data(self):
        yield from self.pieces

    def event(self, value):
        self.events.append(value)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A program called docker that keeps every archive it is given to load, and refuses after so many."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = load ] || {{ echo "$@" >> {tmp_path}/said; exit 0; }}\n'
        f"exec 9>{tmp_path}/lock; cat > {tmp_path}/part-$$; flock 9\n"
        f"[ ! -e {tmp_path}/refuse ] || exit 1\n"
        f"mv {tmp_path}/part-$$ {tmp_path}/loaded-$(ls {tmp_path} | grep -c loaded-)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def exported(monkeypatch):
    """An engine of the driver that gives these layers out; returns what it can be told to do wrong."""
    wrong = SimpleNamespace(layer=None, sizes=True)

    def export(images, layers, store, sink):
        del images, store
        for layer, content in zip(LAYERS, CONTENTS, strict=True):
            if layer in layers:
                if layer == wrong.layer:
                    with pytest.raises(WrongLayerError):
                        sink(layer, iter([content[:-1]]), len(content))
                sink(layer, iter([content[:9], content[9:]]), len(content) if wrong.sizes else None)

    monkeypatch.setattr(streaming, "export", export)
    return wrong


def receive(tmp_path, images, layers, pieces=None):
    store = LayerStore(tmp_path / "driver")
    channel = Channel(pieces or Stream(images, layers, store).pieces())
    arguments = {"store": str(tmp_path / "node"), "tops": "tops.json", "machine": "amd64"}
    return receive_layers.main(arguments, channel), store


def loads(tmp_path):
    """Layers and their files in each archive that the engine was given."""
    found = []
    for number in range(len(list(tmp_path.glob("loaded-*")))):
        with tarfile.open(tmp_path / f"loaded-{number}") as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
        (row,) = json.loads(members["manifest.json"])
        config = json.loads(members[row["Config"]])
        assert row["Config"].endswith(hashlib.sha256(members[row["Config"]]).hexdigest())
        assert row["RepoTags"] is None
        sent = [f"sha256:{name.rpartition('/')[2]}" for name in members if name in row["Layers"]]
        assert all(digest(members[f"blobs/sha256/{layer[7:]}"]) == layer for layer in sent)
        found.append((config["rootfs"]["diff_ids"], sent))
    return found


def test_layers_are_kept_on_both_sides_and_loaded_on_top_of_each_other(tmp_path, engine, exported, monkeypatch):
    monkeypatch.setattr(receive_layers, "ENOUGH", 1)
    answer, store = receive(tmp_path, [ONE], ONE.layers)
    assert answer["loaded"] == list(ONE.layers)
    assert loads(tmp_path) == [([LAYERS[0]], [LAYERS[0]]), (list(ONE.layers), [LAYERS[1]])]
    for layer, content in zip(ONE.layers, CONTENTS, strict=False):
        path = answer["held"][layer]
        assert store.packed(layer, "zst").path == path
        with unpacked(tmp_path / "node" / path, "zst") as stream:
            assert stream.read() == content
    noted = json.loads((tmp_path / "node" / "tops.json").read_text())
    assert [line.split()[-1] for line in (tmp_path / "said").read_text().splitlines()] == noted[:1]
    assert not list((tmp_path / "node").glob(".coming-*"))


def test_small_layers_go_together_and_a_stack_of_another_image_begins_anew(tmp_path, engine, exported):
    answer, _ = receive(tmp_path, [ONE, TWO], LAYERS)
    assert answer["loaded"] == list(LAYERS)
    assert loads(tmp_path) == [(list(ONE.layers), list(LAYERS[:2])), ([LAYERS[0], LAYERS[2]], [LAYERS[2]])]
    assert not (tmp_path / "said").exists(), "the first image is no base of the second: removing it takes layers away"


def test_a_layer_that_came_out_wrong_comes_again_and_is_loaded_later(tmp_path, engine, exported):
    exported.layer = LAYERS[1]
    answer, _ = receive(tmp_path, [ONE], ONE.layers)
    assert sorted(answer["held"]) == sorted(ONE.layers)
    assert answer["loaded"] == []
    assert loads(tmp_path) == []


@pytest.mark.parametrize("why", ["refused", "size"])
def test_what_the_engine_does_not_take_lies_in_the_store(tmp_path, engine, exported, why):
    exported.sizes = why != "size"
    if why == "refused":
        (tmp_path / "refuse").touch()
    answer, _ = receive(tmp_path, [ONE], ONE.layers)
    assert sorted(answer["held"]) == sorted(ONE.layers)
    assert answer["loaded"] == []


def test_bytes_that_changed_on_their_way_are_not_kept(tmp_path, engine, exported):
    pieces = list(Stream([ONE], ONE.layers[:1], LayerStore(tmp_path / "other")).pieces())
    place = next(number for number, piece in enumerate(pieces) if piece[:1] == b"B" and len(piece) > 5000)
    pieces[place] = pieces[place][:5000] + bytes([pieces[place][5000] ^ 1]) + pieces[place][5001:]
    with pytest.raises(Exception, match="other bytes"):
        receive(tmp_path, [ONE], ONE.layers[:1], pieces)
    assert not list((tmp_path / "node").glob("*/*"))
    assert loads(tmp_path) == []


def test_what_cannot_be_packed_ends_the_stream_with_its_cause(tmp_path, monkeypatch):
    def export(*_):
        raise ProvisionError("the engine is gone", remedy="start it")

    monkeypatch.setattr(streaming, "export", export)
    with pytest.raises(ProvisionError, match="the engine is gone"):
        list(Stream([ONE], ONE.layers, LayerStore(tmp_path)).pieces())


def test_who_stops_taking_ends_the_packing(tmp_path, exported):
    stream = Stream([ONE], ONE.layers, LayerStore(tmp_path))
    pieces = stream.pieces()
    next(pieces)
    pieces.close()  # returns only when the packing thread has ended


@pytest.mark.usefixtures("exported")
def test_a_limit_of_the_rate_holds_for_every_byte(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(Throttle, "take", lambda _, size: slept.append(size))
    pieces = list(Stream([ONE], LAYERS[:2], LayerStore(tmp_path / "driver"), Throttle(1000)).pieces())
    assert slept == [len(piece) for piece in pieces]


def test_of_images_that_may_be_alike_the_first_is_streamed():
    base = ("FROM scratch", 500 << 20)
    own = {"a": 100, "b": 149, "c": 150, "d": 300, "e": 224, "f": 1, "g": 2}
    made = {name: [("COPY . .", 10), (f"RUN {name}", size << 20), base] for name, size in own.items()}
    images = [replace(ONE, name=name) for name in own]
    assert [image.name for image in foremost(images, made.get)] == ["a", "c", "d", "f", "g"]


def test_only_a_first_push_to_one_node_is_streamed(tmp_path):
    store = LayerStore(tmp_path)
    order = Order((ONE.name,), ONE.layers, False, Receiver({}, True, MUCH))
    sizes = {ONE.name: ONE.size}
    assert worthwhile({"node1": order}, sizes, store, 1)
    assert not worthwhile({"node1": order, "node2": order}, sizes, store, 2)
    assert not worthwhile({"node1": order}, sizes, store, 2)
    assert not worthwhile({"node1": order}, {ONE.name: 1000}, store, 1)
    held = Receiver({LAYERS[0]: ("p", "zst")}, True, MUCH)
    for other in (
        Order(order.images, order.layers, True, order.receiver),
        Order(order.images, order.layers, False, held),
        Order(order.images, order.layers, False, Receiver({}, False, MUCH)),
    ):
        assert not worthwhile({"node1": other}, sizes, store, 1)
    store.put(LAYERS[0], iter([CONTENTS[0]]))
    assert not worthwhile({"node1": order}, sizes, store, 1)
    assert len(chains(ONE.layers)) == 2
