"""What a node has of the algorithm images. Standard library, Python >= 3.8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioning.node import docker
from provisioning.node.layers import chains, short
from provisioning.node.room import free_memory, room
from provisioning.node.shelf import stored
from provisioning.node.tools import RefusedError, meanwhile
from provisioning.node.zstd import has_zstd


def observe(question: dict[str, Any]) -> dict[str, Any]:
    """Answer for {"names": [image], "store": folder of layers, "ledger", "raw": files in it}; {} where names are none.

    ``chains`` are the first digits of the chain ids that the engine has; ``refused`` says of image ids why they have to
    come with all layers.

    ``engine`` is None and ``why``, ``remedy`` say the cause when this user reaches no engine.
    """
    if not question["names"]:
        return {}
    store = Path(question["store"])
    answer: dict[str, Any] = {"store": stored(store), "store_room": room(question["store"])}
    answer.update(zstd=has_zstd(), memory=free_memory(), refused=_noted(store / question["ledger"]), chains=[])
    try:
        listed = meanwhile(docker.everything)
        engine, every = docker.engine(), listed()
        images = docker.named(question["names"], every)
        answer.update(engine=engine, images=images, ids=[seen["id"] for seen in every], why="", remedy="")
        answer["room"] = room(engine["root"])
        stacks = [seen["layers"] for seen in every]
        if engine["store"] != "classic":
            # such a store knows a layer by the form it came in: only what we brought can be left out of what we bring
            raw = _noted(store / question["raw"])
            stacks = [raw[image] for image in answer["ids"] if image in raw]
        answer["chains"] = sorted({short(chain) for stack in stacks for chain in chains(stack)})
    except RefusedError as error:
        answer.update(engine=None, images={}, ids=[], why=str(error), remedy=error.remedy, room=None)
    return answer


def _noted(ledger: Path) -> Any:  # noqa: ANN401 - what a JSON file holds
    try:
        return json.loads(ledger.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError):
        return {}
