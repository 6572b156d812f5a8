"""Build images from contexts that have arrived, on bases that are proven to be the driver's (>= 3.8)."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.builder import builder
from provisioning.node.proven_images import creates, ids, others, remove
from provisioning.node.tools import BEAT, RefusedError, environment
from provisioning.node.tree import digest_stream

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

LABEL = "timeeval.context"
_TAIL = 1000


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Build.

    Parameters
    ----------
    args : dict
        ``store`` (folder) and ``images``: [{"name", "context" (digest, the label of the result), "path" (packed context
        in the store), "bases": {name: {"id", "print", "store", "layers"}}}].
    channel : Channel
        Gets an event per image, and one now and then while it is built.
    """
    for done, image in enumerate(args["images"]):
        step = {"title": "build %s" % image["name"], "done": done, "total": len(args["images"])}
        channel.event(step)
        _build(Path(args["store"]), image, lambda step=step: channel.event(step))
    return {"images": {image["name"]: sorted(ids([image["name"]])) for image in args["images"]}}


def _build(store: Path, image: dict[str, Any], beat: Any) -> None:  # noqa: ANN401 - a callable without arguments
    name, file = image["name"], store / image["path"]
    _check_context(file)
    kind = docker.engine()["store"]
    wrong = others(image["bases"], kind)
    if wrong:
        raise RefusedError(
            "%s builds on %s, which is another image here than on the driver" % (name, ", ".join(wrong)),
            "look whether someone else tags images on this machine, then run it again",
        )
    before = ids([name])
    command = ["docker", "build", "--label", "%s=%s" % (LABEL, image["context"]), "--tag", name, "-"]
    with file.open("rb") as packed, tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, env=dict(environment(), **builder()), stdin=packed, stdout=words, stderr=words
        )
        try:
            _wait(process, beat)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            words.seek(max(0, words.seek(0, os.SEEK_END) - _TAIL))
            text = words.read().decode("utf-8", "replace").strip()
            raise RefusedError(
                "building %s ended with status %d: %s" % (name, process.returncode, text),
                "make what its Dockerfile asks for reachable from this machine, or use --via load",
            )
    seen = docker.inspect([name])[name]
    stacks = [base["layers"] for base in image["bases"].values()]
    stands = seen is not None and (not stacks or any(seen["layers"][: len(stack)] == stack for stack in stacks))
    if seen is None or seen["context"] != image["context"] or not stands:
        raise RefusedError(
            "what was built as %s does not stand on the base that its Dockerfile names" % name,
            "look whether someone else tags images on this machine, then run it again",
        )
    creates(name)
    remove(before - {seen["id"]})


def _check_context(file: Path) -> None:
    """See that a packed context is whole: the store names it by the first digits of its digest."""
    try:
        with file.open("rb") as stream:
            digest, _ = digest_stream(stream)
    except FileNotFoundError:
        digest = ""
    if digest[:16] != file.parent.name:
        if digest:
            file.unlink()
        raise RefusedError("the context %s is damaged or gone" % file.name, "run it again: it is sent anew")


def _wait(process: subprocess.Popen[bytes], beat: Any) -> None:  # noqa: ANN401 - as above
    told = time.monotonic()
    while process.poll() is None:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            if time.monotonic() - told >= BEAT:
                told = time.monotonic()
                beat()
