"""Load images from an archive that has arrived and prove what came out; no exit status is believed (>= 3.8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.store import damaged, forget
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Bring images about.

    Parameters
    ----------
    args : dict
        ``store`` (folder), ``archive`` ([path in the store, size, sha256] or None), ``images`` ({name: {"id", "print",
        "store"}}: what must come out), ``tag`` ({name: id}: what is there under another name).
    channel : Channel
        Gets an event per step, and one now and then while an image is loaded.
    """
    store = Path(args["store"])
    for name, image in args["tag"].items():
        docker.docker("image", "tag", image, name)
    if args["archive"] is not None:
        path = args["archive"][0]
        if damaged(store, [args["archive"]]):
            raise RefusedError("the archive %s is damaged or missing" % (store / path), "run it again: it is sent anew")
        step = {"title": "load %d images" % len(args["images"]), "done": 0, "total": 1}
        channel.event(step)
        docker.docker("load", "--quiet", "--input", str(store / path), beat=lambda: channel.event(step), timeout=None)
    kind = docker.engine()["store"]
    found = docker.inspect(list(args["images"]))
    wrong = [name for name, wanted in args["images"].items() if not docker.same(found[name], wanted, kind)]
    if wrong:
        raise RefusedError(
            "after loading, these images are not the ones that were sent: %s" % ", ".join(wrong),
            "look whether someone else tags images on this machine, then run it again",
        )
    for name in args["images"]:
        _creates(name)
    if args["archive"] is not None:
        # this one stays: the store may be shared, and another node about to load it
        forget(store, [args["archive"][0]])
    return {"images": {name: seen["id"] for name, seen in found.items() if seen is not None}}


def _creates(name: str) -> None:
    """Make a container and remove it unstarted: an image that was loaded in part can be inspected, but not this."""
    container = docker.docker(
        "create", "--pull", "never", "--network", "none", "--label", "timeeval.verify", name, "true"
    ).split()
    docker.docker("rm", "--force", container[-1])
