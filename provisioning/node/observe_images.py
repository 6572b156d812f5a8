"""What a node has of the algorithm images. Standard library, Python >= 3.8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioning.node import docker
from provisioning.node.room import room
from provisioning.node.store import stored
from provisioning.node.tools import RefusedError


def observe(question: dict[str, Any]) -> dict[str, Any]:
    """Answer for {"names": [image], "store": folder of archives}; {} when no image is asked for.

    ``engine`` is None and ``why``, ``remedy`` say the cause when this user reaches no engine.
    """
    if not question["names"]:
        return {}
    answer: dict[str, Any] = {"store": stored(Path(question["store"])), "store_room": room(question["store"])}
    try:
        engine = docker.engine()
        answer.update(engine=engine, images=docker.inspect(question["names"]), ids=docker.ids(), why="", remedy="")
        answer["room"] = room(engine["root"])
    except RefusedError as error:
        answer.update(engine=None, images={}, ids=[], why=str(error), remedy=error.remedy, room=None)
    return answer
