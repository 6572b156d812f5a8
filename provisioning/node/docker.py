"""What the Docker engine that this user reaches knows of images. Runs on nodes and on the driver (Python >= 3.8).

The command line client is asked, not a library: it is where the engine is, and it finds the engine as the user would.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from provisioning.node.tools import Beat, MissingError, RefusedError, remedy_for, run

ASK_TIMEOUT = 60.0

_CONFIG = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "StopSignal", "User", "Volumes", "WorkingDir")


def docker(*arguments: str, beat: Beat | None = None, timeout: float | None = ASK_TIMEOUT) -> str:
    """Run the Docker client and return what it prints; RefusedError when it fails."""
    try:
        return run(["docker", *arguments], beat, timeout)
    except MissingError as error:
        raise RefusedError(
            "there is no docker command", "install Docker Engine, on Debian: apt-get install docker.io"
        ) from error


def engine() -> dict[str, Any]:
    """Return {"version", "store": "classic" | "containerd", "driver", "machine", "root"} of the engine."""
    info = json.loads(docker("info", "--format", "{{json .}}"))
    if not info.get("ServerVersion"):
        why = "; ".join(info.get("ServerErrors") or ["no reason given"])
        raise RefusedError("the Docker engine does not answer: %s" % why, remedy_for(why))
    status = [pair for pair in info.get("DriverStatus") or [] if len(pair) == 2]
    containerd = any("io.containerd.snapshotter" in str(value) for _, value in status)
    return {
        "version": info["ServerVersion"],
        "store": "containerd" if containerd else "classic",
        "driver": info.get("Driver"),
        "machine": info.get("Architecture"),
        "root": info.get("DockerRootDir"),
    }


def plain(name: str) -> str:
    """Return an image's name as engines list it: without the default registry."""
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/"):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def inspect(names: list[str]) -> dict[str, dict[str, Any] | None]:
    """Return what the engine has under each name; None where it has nothing.

    ``id`` is what this engine starts containers by, ``layers`` the digests of the uncompressed layers, ``print`` the
    digest of all that makes a container of it, the same in every kind of image store.
    """
    return named(names, _documents(names))


def named(names: list[str], every: list[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Return which of these images have each name."""
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(names)
    for seen in every:
        tags = {plain(tag) for tag in seen["tags"]}
        for name in names:
            if plain(name) in tags or name == seen["id"]:
                found[name] = seen
    return found


def _documents(names: list[str]) -> list[dict[str, Any]]:
    try:
        return _inspected(names)
    except RefusedError:
        # one that is not there makes the whole command fail; so only those that are
        there = {plain(tag) for tag in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()}
        known = set(ids())
        return _inspected([name for name in names if plain(name) in there or name in known])


def everything() -> list[dict[str, Any]]:
    """Return all images, those without a name included; see `inspect`."""
    return _inspected(ids())


def _inspected(known: list[str]) -> list[dict[str, Any]]:
    lines = docker("image", "inspect", "--format", "{{json .}}", *known).splitlines() if known else []
    return [_facts(json.loads(line)) for line in lines if line.strip()]


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    layers = (document.get("RootFS") or {}).get("Layers") or []
    config = document.get("Config") or {}
    # engines differ in whether they say nothing, null or an empty list
    kept = {key: config[key] for key in _CONFIG if config.get(key)}
    core = [layers, kept, document.get("Architecture"), document.get("Os")]
    return {
        "id": document["Id"],
        "tags": document.get("RepoTags") or [],
        "layers": layers,
        "print": hashlib.sha256(json.dumps(core, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
        "machine": document.get("Architecture"),
        "size": int(document.get("Size") or 0),
        "context": (config.get("Labels") or {}).get("timeeval.context"),
    }


def steps(name: str) -> list[tuple[str, int]]:
    """Return what made an image, and how many bytes each step left."""
    lines = docker("history", "--no-trunc", "--human=false", "--format", "{{json .}}", name).splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [(row["CreatedBy"], int(row["Size"])) for row in rows]


def ids() -> list[str]:
    """Return the ids of all images, those without a name included."""
    return sorted(set(docker("image", "ls", "--all", "--quiet", "--no-trunc").split()))


def same(seen: dict[str, Any] | None, wanted: dict[str, Any], store: str) -> bool:
    """Return whether an image is the one that is wanted.

    Between stores of one kind the id says it; an engine with another kind of store gives the same image another id,
    there the digest of layers and configuration does.
    """
    if seen is None:
        return False
    return bool(seen["id"] == wanted["id"]) or bool(store != wanted["store"] and seen["print"] == wanted["print"])
