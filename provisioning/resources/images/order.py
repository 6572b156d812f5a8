"""What a node lacks of images: its side of what `provisioning.resources.images.shipment` decides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from provisioning.node.layers import chains, short
from provisioning.resources.images.shipment import Receiver

if TYPE_CHECKING:
    from provisioning.resources.images.build import Built
    from provisioning.resources.images.packer import Form

_PACKED = re.compile(r"[0-9a-f]{16}/([0-9a-f]{64})\.tar\.(zst|gz)")


@dataclass(frozen=True, slots=True)
class Order:
    """What one node lacks, and what it has to make it of.

    Attributes
    ----------
    images : tuple of str
        Names, the smallest image first.
    layers : tuple of str
        What must reach the engine, bottom layers first.
    whole : bool
        Whether these are all layers of the images.
    receiver : Receiver
    store : str
        Kind of the node's image store.
    """

    images: tuple[str, ...]
    layers: tuple[str, ...]
    whole: bool
    receiver: Receiver
    store: str = "classic"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        receiver = self.receiver
        return {
            "images": list(self.images),
            "layers": list(self.layers),
            "whole": self.whole,
            "held": {layer: list(place) for layer, place in receiver.held.items()},
            "zstd": receiver.zstd,
            "memory": receiver.memory,
            "store": self.store,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Order:
        """Read what `to_json` returned."""
        held = {layer: (path, form) for layer, (path, form) in row["held"].items()}
        receiver = Receiver(held, row["zstd"], row["memory"])
        return cls(tuple(row["images"]), tuple(row["layers"]), row["whole"], receiver, row["store"])


def order_of(
    observed: Mapping[str, Any], lacking: Sequence[Built], memory: int, sizes: Mapping[str, int] | None = None
) -> Order:
    """Return what has to reach a node so that it has these images.

    Parameters
    ----------
    observed : mapping
        What `provisioning.node.observe_images` answered there.
    lacking : sequence of Built
    memory : int
        Bytes that are free on the driver.
    sizes : mapping of str to int, optional
        Bytes of layers that are known; a containerd store is told those of layers that are left out.
    """
    whole = any(image.id in observed["refused"] for image in lacking)
    there = set() if whole else set(observed["chains"])
    if observed["engine"]["store"] != "classic":
        stacks = [zip(image.layers, chains(image.layers), strict=True) for image in lacking]
        left_out = {layer for stack in stacks for layer, chain in stack if short(chain) in there}
        whole = whole or not left_out <= (sizes or {}).keys()
        there = set() if whole else there
    images = sorted(lacking, key=lambda image: (image.size, image.name))
    layers = [
        layer
        for image in images
        for layer, chain in zip(image.layers, chains(image.layers), strict=True)
        if short(chain) not in there
    ]
    held: dict[str, tuple[str, Form]] = {}
    for path, _ in observed["store"]:
        match = _PACKED.fullmatch(path)
        if match and (match[2] == "gz" or observed["zstd"]):  # it may have lost its zstd since
            held[f"sha256:{match[1]}"] = (path, cast("Form", match[2]))
    free = min(observed["memory"], memory)
    return Order(
        tuple(image.name for image in images),
        tuple(dict.fromkeys(layers)),
        whole,
        Receiver(held, observed["zstd"], free),
        observed["engine"]["store"],
    )
