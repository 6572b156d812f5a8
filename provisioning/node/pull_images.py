"""Let the engine pull images by digest from a registry, and prove what came (>= 3.8)."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from provisioning.node import docker
from provisioning.node.proven_images import creates, ids, others, remove
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

_REACHED_SECONDS = 5


def main(args: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Pull.

    Parameters
    ----------
    args : dict
        ``images``: {name: {"reference" (``HOST/path@sha256:...``), "id", "print", "store"}}; ``loopback``: port on this
        host's loopback that leads to the registry, or None where the registry is anywhere.
    channel : Channel
        Gets an event per image, and one now and then while it is pulled.
    """
    wanted = args["images"]
    kind = docker.engine()["store"]
    before = ids(wanted)
    for done, (name, image) in enumerate(wanted.items()):
        step = {"title": "pull %s" % name, "done": done, "total": len(wanted)}
        channel.event(step)
        _pull(name, image["reference"], args["loopback"], lambda step=step: channel.event(step))
    wrong = others(wanted, kind)
    if wrong:
        raise RefusedError(
            "after they were pulled, these images are not the driver's: %s" % ", ".join(wrong),
            "look whether someone else tags images on this machine, then run it again",
        )
    for name in wanted:
        creates(name)
    remove(before - ids(wanted))
    return {"images": sorted(wanted)}


def _pull(name: str, reference: str, loopback: int | None, beat: Any) -> None:  # noqa: ANN401 - a callable
    try:
        docker.docker("pull", "--quiet", reference, beat=beat, timeout=None)
    except RefusedError as error:
        if loopback is not None and reached(loopback) and "connect" in str(error):
            raise RefusedError(
                "its engine does not share this host's loopback (it runs in a machine or a network of its own): %s"
                % error,
                "use --via load, which asks for nothing but the engine",
            ) from error
        raise RefusedError(str(error), _remedy(reference, str(error))) from error
    docker.docker("image", "tag", reference, name)
    with contextlib.suppress(RefusedError):  # only the name by which it was pulled
        docker.docker("image", "rm", "--no-prune", reference)


def reached(port: int) -> bool:
    """Return whether something listens on a port of this host's loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), _REACHED_SECONDS).close()
    except OSError:
        return False
    return True


def _remedy(reference: str, said: str) -> str:
    host = reference.partition("/")[0]
    if "HTTP response to HTTPS" in said or "certificate" in said:
        return "give %s a certificate that this engine trusts, or name it under insecure-registries there" % host
    if "unauthorized" in said or "denied" in said or "authentication" in said:
        return "docker login %s as this user on this machine" % host
    return "see whether this machine reaches %s" % host
