"""What a node has of the algorithm images. Standard library, Python >= 3.8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioning.node import docker
from provisioning.node.layers import chains, short
from provisioning.node.room import free_memory, room
from provisioning.node.shelf import stored
from provisioning.node.tools import RefusedError
from provisioning.node.zstd import has_zstd


def observe(question: dict[str, Any]) -> dict[str, Any]:
    """Answer for {"names": [image], "store": folder of layers, "ledger": file in it}; {} when no image is asked for.

    ``chains`` are the first digits of the chain ids that the engine has; ``refused`` says of image ids why they have to
    come with all layers.

    ``engine`` is None and ``why``, ``remedy`` say the cause when this user reaches no engine.
    """
    if not question["names"]:
        return {}
    store = Path(question["store"])
    answer: dict[str, Any] = {"store": stored(store), "store_room": room(question["store"])}
    answer.update(zstd=has_zstd(), memory=free_memory(), refused=_refused(store / question["ledger"]), chains=[])
    try:
        engine = docker.engine()
        every = docker.everything()
        images = docker.named(question["names"], every)
        answer.update(engine=engine, images=images, ids=[seen["id"] for seen in every], why="", remedy="")
        answer["room"] = room(engine["root"])
        if engine["store"] == "classic":  # the only kind that takes an archive which leaves out layers
            answer["chains"] = sorted({short(chain) for seen in every for chain in chains(seen["layers"])})
    except RefusedError as error:
        answer.update(engine=None, images={}, ids=[], why=str(error), remedy=error.remedy, room=None)
    return answer


def _refused(ledger: Path) -> Any:  # noqa: ANN401 - what a JSON file holds
    try:
        return json.loads(ledger.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError):
        return {}
