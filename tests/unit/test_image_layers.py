"""Layers as they are packed, chosen, unpacked and handed to an engine, without an engine."""

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
import time
from pathlib import Path

import pytest

from provisioning.errors import ProvisionError
from provisioning.node.archive import DamagedError
from provisioning.node.layers import chains
from provisioning.node.load_images import full_name, load
from provisioning.node.observe_images import observe
from provisioning.node.pack import unpacked
from provisioning.node.shelf import stored
from provisioning.node.store import sweep
from provisioning.node.tools import RefusedError
from provisioning.resources.images import packed
from provisioning.resources.images.build import Built
from provisioning.resources.images.order import Order, order_of
from provisioning.resources.images.packed import LayerStore
from provisioning.resources.images.saving import Storage, WrongLayerError
from provisioning.resources.images.shipment import Receiver, pieces

MUCH = 1 << 40


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_of(files: dict[str, bytes]) -> bytes:
    """A layer's archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def noise(seed: int, size: int = 200_000) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def store(tmp_path):
    return LayerStore(tmp_path / "store")


def keep(store: LayerStore, data: bytes) -> str:
    store.put(digest(data), iter([data[:1000], data[1000:]]))
    return digest(data)


def test_a_chain_id_hashes_the_chain_below_and_the_layer():
    one, two = digest(b"one"), digest(b"two")
    assert chains([one, two]) == [one, digest(f"{one} {two}".encode())]
    assert chains([]) == []


def test_a_layer_comes_out_of_the_store_as_it_went_in(store):
    data = layer_of({"a": noise(1)})
    layer = keep(store, data)
    assert layer in store
    assert store.raw_size(layer) == len(data)
    with store.raw(layer) as file:
        assert file.read_bytes() == data
    packed = store.packed(layer, "gz")
    assert gzip.decompress((store.folder / packed.path).read_bytes()) == data
    assert store.packed(layer, "gz") == packed
    assert not list(store.folder.glob(".packing-*"))


def test_bytes_of_another_digest_are_not_kept(store):
    with pytest.raises(WrongLayerError):
        store.put(digest(b"one"), iter([b"two"]))
    assert digest(b"one") not in store
    assert stored(store.folder) == []


def test_a_patch_is_as_small_as_the_change_and_none_is_made_of_what_is_new(store):
    old = keep(store, layer_of({"a": noise(1), "b": noise(2)}))
    new_data = layer_of({"a": noise(1), "b": noise(2)[:-5] + b"12345"})
    new, other = keep(store, new_data), keep(store, layer_of({"a": noise(3), "b": noise(4)}))
    patch = store.patch(new, old)
    assert patch is not None
    assert patch.size < 500
    with store.raw(old) as basis, unpacked(store.folder / patch.path, "patch", basis) as stream:
        assert stream.read() == new_data
    assert store.patch(other, old) is None
    assert store.patch(other, old) is None  # remembered


def test_more_effort_makes_a_large_patch_smaller_and_the_layer_stays_the_same(store, monkeypatch):
    text = "".join(f"{number:06},{number * number % 9973}\n" for number in range(20_000)).encode()
    old = keep(store, layer_of({"a": noise(1)}))
    new_data = layer_of({"a": noise(1), "b": text})
    new = keep(store, new_data)
    quick = store.patch(new, old)
    assert quick is not None
    assert store.patch(new, old, best=True) == quick  # it is small already
    monkeypatch.setattr(packed, "EFFORT", quick.size - 1)
    best = store.patch(new, old, best=True)
    assert best is not None
    assert best.size < quick.size
    with store.raw(old) as basis, unpacked(store.folder / best.path, "patch", basis) as stream:
        assert stream.read() == new_data


def test_what_was_not_used_for_longest_goes_first(store):
    layers = [keep(store, layer_of({"a": noise(seed)})) for seed in range(3)]
    paths = [store.packed(layer, "zst").path for layer in layers]
    sizes = [store.packed(layer, "zst").size for layer in layers]
    assert sweep(store.folder, sum(sizes), []) == []
    time.sleep(0.02)  # times of files have this resolution
    assert sweep(store.folder, sizes[0] + sizes[2], [paths[0]]) == [paths[1]]
    assert sweep(store.folder, 1, [paths[0]]) == [paths[2]]
    assert [layer in store for layer in layers] == [True, False, False]


def test_a_full_store_keeps_what_is_being_sent_and_says_what_is_gone(store):
    old = keep(store, layer_of({"a": noise(1)}))
    new = keep(store, layer_of({"a": noise(1)[:-1] + b"x"}))
    assert len(store.sweep(1, [new])) == 1
    assert [layer in store for layer in (old, new)] == [False, True]
    chosen = pieces(store, [new], receiver(store, old), {})
    assert [piece.form for piece in chosen] == ["zst"]
    assert pieces(store, [new], receiver(store, old), {}) == chosen
    with pytest.raises(ProvisionError, match="is gone from"), store.raw(old):
        pass


def receiver(store: LayerStore, *held: str, zstd: bool = True, memory: int = MUCH) -> Receiver:
    return Receiver({layer: (f"{'0' * 16}/{layer[7:]}.tar.zst", "zst") for layer in held}, zstd, memory)


def test_the_cheapest_of_nothing_patch_and_whole(store):
    old = keep(store, layer_of({"a": noise(1)}))
    new = keep(store, layer_of({"a": noise(1)[:-1] + b"x"}))
    forms = lambda to: [(p.form, p.sent is not None) for p in pieces(store, [old, new], to, {})]  # noqa: E731
    assert forms(receiver(store)) == [("zst", True), ("patch", True)]
    assert forms(receiver(store, old)) == [("zst", False), ("patch", True)]
    assert forms(receiver(store, old, new)) == [("zst", False), ("zst", False)]
    assert forms(receiver(store, zstd=False)) == [("gz", True), ("gz", True)]
    assert forms(receiver(store, old, memory=100_000)) == [("zst", False), ("zst", True)]
    assert forms(receiver(store, memory=100_000)) == [("zst", True), ("zst", True)]
    assert forms(receiver(store, old)) == [("zst", False), ("patch", True)]
    assert pieces(store, [new], receiver(store, old), {})[0].basis == (old, *receiver(store, old).held[old])


def test_what_travels_whole_in_the_same_push_is_built_upon(store, engine):
    contents = [layer_of({"a": noise(1)[:-1] + bytes([number])}) for number in range(3)]
    layers = [keep(store, data) for data in contents]
    found = pieces(store, layers, receiver(store), {})
    assert [piece.form for piece in found] == ["zst", "patch", "patch"]
    assert {piece.basis[0] for piece in found[1:]} == {layers[0]}
    load(store.folder, document(store, layers, receiver(store), whole=False, stack=layers), lambda _done: None)
    assert [read(engine)[f"blobs/sha256/{layer[7:]}"] for layer in layers] == contents


def test_the_layer_in_the_same_place_of_the_last_image_is_tried_first(store):
    rest = layer_of({"rest": noise(9)})
    base = keep(store, rest)
    old = keep(store, layer_of({"a": noise(1, 400_000)}))
    decoys = [keep(store, layer_of({"a": noise(seed, 100_000)})) for seed in (2, 3, 4)]
    new = keep(store, layer_of({"a": noise(1, 400_000)[:110_000] + b"x"}))
    held = receiver(store, base, old, *decoys)
    assert pieces(store, [new], held, {new: "lab/one:1"})[0].form == "zst"
    store.remember("lab/one:1", [base, old])
    store.remember("lab/one:1", [base, new])
    store.remember("lab/one:1", [base, new])
    assert store.stacks("lab/one:1") == [[base, new], [base, old]]
    assert pieces(store, [new], held, {new: "lab/one:1"})[0].form == "patch"


def test_configurations_come_back_to_the_byte(store):
    assert store.config("sha256:1") is None
    store.put_config("sha256:1", '{"a": "ä",  "b":1}'.encode())
    assert store.config("sha256:1") == '{"a": "ä",  "b":1}'


# --- an engine's storage ----------------------------------------------------------------------------------------------


def test_a_layer_is_put_together_again_from_an_engines_storage(tmp_path, store):
    content = noise(5, 3000)
    data = layer_of({"app/main.py": content, "empty": b""})
    start = data.index(content)
    chain = chains([digest(b"base"), digest(data)])[1]
    record = tmp_path / "image/overlay2/layerdb/sha256" / chain[7:]
    record.mkdir(parents=True)
    record.joinpath("cache-id").write_text("abc\n")
    entries = [
        {"type": 2, "payload": base64.b64encode(data[:start]).decode()},
        {"type": 1, "name": "app/main.py", "size": len(content), "payload": "AAAAAAAAAAA="},
        {"type": 2, "payload": base64.b64encode(data[start + len(content) :]).decode()},
        {"type": 1, "name": "empty", "payload": None},
    ]
    with gzip.open(record / "tar-split.json.gz", "wt") as lines:
        lines.writelines(json.dumps(entry) + "\n" for entry in entries)
    file = tmp_path / "overlay2/abc/diff/app/main.py"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    stack = [digest(b"base"), digest(data)]
    assert Storage(tmp_path).take_out(stack, set(stack), store.put) == {digest(data)}
    file.write_bytes(content[:-1] + b"x")
    other = LayerStore(tmp_path / "other")
    assert Storage(tmp_path).take_out(stack, set(stack), other.put) == set()
    assert digest(data) not in other


def test_a_configuration_is_believed_when_it_has_the_images_id(tmp_path):
    text = b'{"rootfs": {}}'
    folder = tmp_path / "image/overlay2/imagedb/content/sha256"
    folder.mkdir(parents=True)
    folder.joinpath(digest(text)[7:]).write_bytes(text)
    folder.joinpath(digest(b"other")[7:]).write_bytes(text)
    assert Storage(tmp_path).config(digest(text)) == text
    assert Storage(tmp_path).config(digest(b"other")) is None
    assert Storage(tmp_path).config(digest(b"none")) is None


# --- what the engine gets ---------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A program called docker that keeps what it is given to load."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(
        f"#!/bin/sh\ncat > {tmp_path}/loaded.tar\n[ ! -e {tmp_path}/refuse ] || {{ echo no >&2; exit 1; }}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path / "loaded.tar"


def document(store: LayerStore, layers: list[str], to: Receiver, *, whole: bool, stack: list[str]) -> dict:
    images = [{"name": "lab/one:1", "config": '{"rootfs": {}}', "layers": stack}]
    return {"images": images, "pieces": [p.to_json() for p in pieces(store, layers, to, {})], "whole": whole}


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as found:
        return {member.name: found.extractfile(member).read() for member in found.getmembers()}


def test_an_archive_leaves_out_what_the_engine_has(store, engine):
    data = layer_of({"a": noise(1)})
    base, layer = digest(b"base"), keep(store, data)
    load(store.folder, document(store, [layer], receiver(store), whole=False, stack=[base, layer]), lambda _done: None)
    members = read(engine)
    config = digest(b'{"rootfs": {}}')[7:]
    assert members.pop(f"blobs/sha256/{layer[7:]}") == data
    assert members.pop(f"blobs/sha256/{config}") == b'{"rootfs": {}}'
    names = [f"blobs/sha256/{base[7:]}", f"blobs/sha256/{layer[7:]}"]
    row = {"Config": f"blobs/sha256/{config}", "RepoTags": ["lab/one:1"], "Layers": names}
    assert json.loads(members.pop("manifest.json")) == [row]
    assert members == {}


def test_a_whole_archive_is_an_oci_layout_as_well(store, engine):
    data = layer_of({"a": noise(1)})
    layer = keep(store, data)
    load(store.folder, document(store, [layer], receiver(store), whole=True, stack=[layer]), lambda _done: None)
    members = read(engine)
    (listed,) = json.loads(members["index.json"])["manifests"]
    manifest = members[f"blobs/sha256/{listed['digest'][7:]}"]
    assert digest(manifest) == listed["digest"]
    assert len(manifest) == listed["size"]
    assert listed["annotations"]["io.containerd.image.name"] == "docker.io/lab/one:1"
    (row,) = json.loads(manifest)["layers"]
    assert (row["digest"], row["size"]) == (layer, len(data))


def test_a_patch_is_applied_on_its_way_to_the_engine(store, engine):
    old = keep(store, layer_of({"a": noise(1)}))
    data = layer_of({"a": noise(1)[:-1] + b"x"})
    new = keep(store, data)
    held = Receiver({old: (store.packed(old, "zst").path, "zst")}, True, MUCH)
    wanted = document(store, [new], held, whole=False, stack=[old, new])
    assert wanted["pieces"][0]["form"] == "patch"
    load(store.folder, wanted, lambda _done: None)
    assert read(engine)[f"blobs/sha256/{new[7:]}"] == data


@pytest.mark.parametrize("harm", ["flipped", "short", "absent", "basis"])
def test_a_damaged_layer_is_found_removed_and_nothing_is_loaded(store, engine, harm):
    old = keep(store, layer_of({"a": noise(1)}))
    new = keep(store, layer_of({"a": noise(1)[:-1] + b"x"}))
    held = Receiver({old: (store.packed(old, "zst").path, "zst")} if harm == "basis" else {}, True, MUCH)
    wanted = document(store, [new], held, whole=False, stack=[old, new])
    file = store.folder / (wanted["pieces"][0]["path"] if harm != "basis" else store.packed(old, "zst").path)
    content = file.read_bytes()
    match harm:
        case "absent":
            file.unlink()
        case "short":
            file.write_bytes(content[:-100])
        case _:
            file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    with pytest.raises(DamagedError):
        load(store.folder, wanted, lambda _done: None)
    assert not file.exists()
    assert b"manifest.json" not in (engine.read_bytes() if engine.exists() else b"")
    assert not list(store.folder.glob(".basis-*"))


def test_what_the_engine_says_is_told(store, engine, tmp_path):
    (tmp_path / "refuse").touch()
    layer = keep(store, layer_of({"a": noise(1)}))
    with pytest.raises(RefusedError, match="docker load ended with status 1: no"):
        load(store.folder, document(store, [layer], receiver(store), whole=True, stack=[layer]), lambda _done: None)


def test_names_get_the_registry_that_they_imply():
    assert full_name("one:1") == "docker.io/library/one:1"
    assert full_name("lab/one:1") == "docker.io/lab/one:1"
    assert full_name("localhost/one:1") == "localhost/one:1"
    assert full_name("registry.lab:5000/one:1") == "registry.lab:5000/one:1"


# --- what a node lacks ------------------------------------------------------------------------------------------------

ONE = Built("lab/one:1", digest(b"1"), "p1", "classic", "amd64", (digest(b"a"), digest(b"b")), 100)


def observed(**more):
    seen = {"engine": {"store": "classic"}, "refused": {}, "chains": [], "store": [], "zstd": True, "memory": 10}
    return seen | more


def test_layers_of_a_stack_that_is_there_are_left_out():
    found = order_of(observed(chains=[chains(ONE.layers)[0][7:23]]), [ONE], MUCH)
    assert (found.layers, found.whole, found.receiver.memory) == ((digest(b"b"),), False, 10)
    assert order_of(observed(chains=[digest(b"b")[7:23]]), [ONE], MUCH).layers == ONE.layers
    assert Order.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_all_layers_go_to_an_engine_that_wants_them_or_refused_less():
    there = [chain[7:23] for chain in chains(ONE.layers)]
    whole = order_of(observed(chains=there, refused={ONE.id: "no"}), [ONE], MUCH)
    assert (whole.layers, whole.whole) == (ONE.layers, True)
    whole = order_of(observed(chains=there, engine={"store": "containerd"}), [ONE], MUCH)
    assert (whole.layers, whole.whole) == (ONE.layers, True)


def test_only_files_with_names_of_ours_count_as_held():
    rows = [
        [f"{'0' * 16}/{'a' * 64}.tar.zst", 1],
        [f"{'0' * 16}/{'b' * 64}.tar.gz", 1],
        ["../../etc/passwd", 1],
        [f"{'0' * 16}/{'c' * 64}.from-{'a' * 16}.zst", 1],
    ]
    held = order_of(observed(store=rows), [ONE], MUCH).receiver.held
    assert held == {f"sha256:{'a' * 64}": (rows[0][0], "zst"), f"sha256:{'b' * 64}": (rows[1][0], "gz")}


def test_what_a_node_cannot_unpack_any_more_is_not_held():
    store = [[f"{'0' * 16}/{digest(b'a')[7:]}.tar.zst", 9], [f"{'1' * 16}/{digest(b'b')[7:]}.tar.gz", 9]]
    assert sorted(order_of(observed(store=store), [ONE], MUCH).receiver.held) == sorted(ONE.layers)
    assert list(order_of(observed(store=store, zstd=False), [ONE], MUCH).receiver.held) == [digest(b"b")]


def test_a_containerd_store_is_spared_what_it_has_where_the_sizes_are_known():
    there = [chains(ONE.layers)[0][7:23]]
    seen = observed(chains=there, engine={"store": "containerd"})
    found = order_of(seen, [ONE], MUCH, {ONE.layers[0]: 9})
    assert (found.layers, found.whole, found.store) == ((ONE.layers[1],), False, "containerd")
    assert Order.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert order_of(seen, [ONE], MUCH, {ONE.layers[1]: 9}).whole
    assert order_of(seen | {"refused": {ONE.id: "no"}}, [ONE], MUCH, {ONE.layers[0]: 9}).whole


def test_an_archive_that_leaves_out_layers_tells_a_containerd_store_their_sizes(store, engine):
    data = layer_of({"a": noise(1)})
    base, layer = digest(b"base"), keep(store, data)
    wanted = document(store, [layer], receiver(store), whole=False, stack=[base, layer]) | {"sizes": {base: 77}}
    load(store.folder, wanted, lambda _done: None)
    members = read(engine)
    (listed,) = json.loads(members["index.json"])["manifests"]
    manifest = json.loads(members[f"blobs/sha256/{listed['digest'][7:]}"])
    assert [(row["digest"], row["size"]) for row in manifest["layers"]] == [(base, 77), (layer, len(data))]
    assert f"blobs/sha256/{base[7:]}" not in members, "an empty file in its place would be believed"


@pytest.mark.parametrize("store_kind", ["overlay2", "io.containerd.snapshotter.v1"])
def test_a_containerd_store_counts_what_came_from_us_and_is_there_still(tmp_path, monkeypatch, store_kind):
    info = {"ServerVersion": "26", "DriverStatus": [["driver-type", store_kind]], "DockerRootDir": str(tmp_path)}
    images = [{"Id": f"sha256:{number}", "RootFS": {"Layers": [digest(number.encode())]}} for number in ("1", "2")]
    lines = "".join(f"echo '{json.dumps(image)}'; " for image in images)
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\ncase \"$1 $2\" in\n'info --format') echo '{json.dumps(info)}';;\n"
        f"'image ls') echo sha256:1; echo sha256:2;;\n'image inspect') {lines};;\nesac\n"
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "raw.json").write_text(json.dumps({"sha256:1": [digest(b"1")], "sha256:gone": [digest(b"3")]}))
    asked = {"names": ["lab/one:1"], "store": str(tmp_path), "ledger": "refused.json", "raw": "raw.json"}
    seen = observe(asked)
    known = ("1", "2") if store_kind == "overlay2" else ("1",)
    assert seen["chains"] == sorted(digest(number.encode())[7:23] for number in known)
