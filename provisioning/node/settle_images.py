"""Load images from layers that have arrived and prove what came out; no exit status is believed (>= 3.8)."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.archive import DamagedError
from provisioning.node.layers import chains, short
from provisioning.node.load_images import load
from provisioning.node.pack import CHUNK, unpacked
from provisioning.node.proven_images import creates, remove
from provisioning.node.store import sweep
from provisioning.node.tools import RefusedError
from provisioning.node.tree import digest_stream, read_json, write_json
from provisioning.node.zstd import LONG

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_STEP = 0.5


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Bring images about.

    What leaves out layers may fail through no fault of this node (an image pruned since it was looked at, a damaged
    basis). That is noted in ``ledger``, and the next round brings all layers: the caller looks at the node again in any
    case.

    Parameters
    ----------
    args : dict
        ``store`` (folder), ``ledger`` (file in it), ``load`` (see `provisioning.node.load_images.load`, or None),
        ``images`` ({name: {"id", "print", "store"}}: what must come out), ``tag`` ({name: id}: what is there under
        another name), ``most`` (bytes that the store may keep), ``tops`` (file in the store that notes images
        which only stand for layers: they are removed), ``kind`` (of the engine's store, or None),
        ``raw`` (file in the store that notes what a containerd store has as it travels).
    channel : Channel
        Gets an event per step, and one now and then while an image is loaded.
    """
    for name, image in args["tag"].items():
        docker.docker("image", "tag", image, name)
    reason = ""
    document = args["load"]
    every = docker.everything()
    before = {seen["id"] for seen in docker.named(list(args["images"]), every).values() if seen is not None}
    if document is not None:
        there = {short(chain) for seen in every for chain in chains(seen["layers"])}
        reason = _load(Path(args["store"]), document, there, channel)
    kind = args["kind"] or docker.engine()["store"]
    found = docker.inspect(list(args["images"]))
    wrong = [name for name, wanted in args["images"].items() if not docker.same(found[name], wanted, kind)]
    if not wrong:
        wrong = [] if kind == "classic" else _broken(args, document)  # a classic store's id says all that this would
    if not wrong:
        remove(before - {seen["id"] for seen in found.values() if seen is not None})
    elif document is None or document["whole"]:
        raise RefusedError(
            "after loading, these images are not the ones that were sent: %s%s"
            % (", ".join(wrong), " (%s)" % reason if reason else ""),
            "look whether someone else tags images on this machine, then run it again",
        )
    tops = Path(args["store"]) / args["tops"]
    if not wrong and tops.exists():
        remove(set(read_json(str(tops)) or []) & set(docker.ids()))
        tops.unlink()
    if document is not None and kind != "classic" and not wrong:
        layers = {each["name"]: each["layers"] for each in document["images"]}
        loaded = {seen["id"]: layers[name] for name, seen in found.items() if seen is not None and name in layers}
        _note_raw(Path(args["store"]) / args["raw"], loaded)
    if document is not None:
        _conclude(Path(args["store"]), args, wrong, reason or "other images came out than were sent")
    return {"images": {name: seen["id"] for name, seen in found.items() if seen is not None}, "again": wrong}


def _broken(args: dict[str, Any], document: dict[str, Any] | None) -> list[str]:
    """Return which images cannot be made a container of, though they are listed; they come again with all layers."""
    broken = []
    for name in args["images"]:
        try:
            creates(name)
        except RefusedError:
            if document is None or document["whole"]:
                raise
            docker.docker("image", "rm", "--force", name)
            broken.append(name)
    return broken


def _note_raw(file: Path, images: dict[str, list[str]]) -> None:
    """Note what a containerd store has as it travels: a layer that was pulled lies there in another form."""
    there = set(docker.ids())
    known = {image: layers for image, layers in (read_json(str(file)) or {}).items() if image in there}
    write_json(str(file), dict(known, **images))


def _load(store: Path, document: dict[str, Any], there: set[str], channel: Channel) -> str:
    """Load on top of the stacks that are there; return why it must come again with all layers, "" when it was done."""
    total = sum(piece["size"] for piece in document["pieces"])
    title = "load %d images" % len(document["images"])
    step: dict[str, Any] = {"title": title, "done": 0, "total": total, "unit": "B"}

    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        step["done"] = max(done, step["done"])
        if done < 0 or time.monotonic() > told + _STEP:
            told = time.monotonic()
            channel.event(step)

    channel.event(step)
    if not document["whole"]:
        brought = {piece["layer"] for piece in document["pieces"]}
        for image in document["images"]:
            for layer, chain in zip(image["layers"], chains(image["layers"])):  # noqa: B905 - not in 3.8
                if layer not in brought and short(chain) not in there:
                    return "layer %s of %s is not here any more" % (short(layer), image["name"])
    try:
        load(store, document, tell)
    except DamagedError as error:
        return str(error)
    except RefusedError as error:
        if document["whole"]:
            raise
        return str(error)
    return ""


def _conclude(store: Path, args: dict[str, Any], wrong: list[str], reason: str) -> None:
    """Note what has to come whole, and keep of the store what later patches can be made against."""
    ledger = store / args["ledger"]
    known = read_json(str(ledger)) or {}
    settled = {args["images"][name]["id"] for name in args["images"]}
    noted = {image: why for image, why in known.items() if image not in settled}
    noted.update({args["images"][name]["id"]: reason for name in wrong})
    if noted != known:
        write_json(str(ledger), noted)
    used = []
    for piece in args["load"]["pieces"]:
        path = piece["path"]
        if piece["form"] == "patch" and not wrong:
            path = _keep(store, piece)
        used.append(path)
    sweep(store, args["most"], used)


def _keep(store: Path, piece: dict[str, Any]) -> str:
    """Pack a layer that came as a patch, so that the next patch can be made against it; return its path."""
    with tempfile.TemporaryDirectory(prefix=".basis-", dir=str(store)) as scratch:
        basis, packed = Path(scratch, "basis"), Path(scratch, "packed")
        _, path, form = piece["basis"]
        with unpacked(store / path, form) as source, basis.open("wb") as sink:
            for data in iter(lambda: source.read(CHUNK), b""):
                sink.write(data)
        with unpacked(store / piece["path"], "patch", basis) as source:
            subprocess.run(
                ["zstd", "-q", "-3", LONG, "-", "-o", str(packed)], stdin=source, stderr=subprocess.DEVNULL, check=True
            )
        with packed.open("rb") as stream:
            digest, _ = digest_stream(stream)
        final = store / digest[:16] / ("%s.tar.zst" % piece["layer"].partition(":")[2])
        final.parent.mkdir(exist_ok=True)
        os.replace(str(packed), str(final))  # noqa: PTH105 - one call that both Pythons type alike
    (store / piece["path"]).unlink()
    return "%s/%s" % (final.parent.name, final.name)
