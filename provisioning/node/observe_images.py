"""What a node has of the algorithm images. Standard library, Python >= 3.8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioning.node import docker
from provisioning.node.layers import chains, short
from provisioning.node.pack import has_zstd
from provisioning.node.room import free_memory, room
from provisioning.node.store import stored
from provisioning.node.tools import RefusedError
from provisioning.node.tree import read_json


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
    answer.update(
        zstd=has_zstd(), memory=free_memory(), refused=read_json(str(store / question["ledger"])) or {}, chains=[]
    )
    try:
        engine = docker.engine()
        answer.update(engine=engine, images=docker.inspect(question["names"]), ids=docker.ids(), why="", remedy="")
        answer["room"] = room(engine["root"])
        if engine["store"] == "classic":  # the only kind that takes an archive which leaves out layers
            answer["chains"] = sorted({short(chain) for stack in docker.stacks() for chain in chains(stack)})
    except RefusedError as error:
        answer.update(engine=None, images={}, ids=[], why=str(error), remedy=error.remedy, room=None)
    return answer
