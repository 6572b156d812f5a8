"""What the driver's own environment has: versions of what came from an index, wheels of what lies on this machine."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Collection
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from provisioning.errors import UsageError
from provisioning.node.records import canonical
from provisioning.resources.environment import project
from provisioning.resources.environment.wheels import Wheel, keep, wheel_store

if TYPE_CHECKING:
    from provisioning.inventory import Environment


def installed(environment: Environment, ours: Collection[str]) -> tuple[tuple[str, ...], list[Wheel]]:
    """Return the pins of what is installed here, and wheels of local and editable projects.

    Parameters
    ----------
    environment : Environment
    ours : collection of str
        Canonical names that the cluster file brings as projects; they are left out.

    Returns
    -------
    tuple of (tuple of str, list of Wheel)
        ``name==version``, sorted.

    Raises
    ------
    ProvisionError
        When something was installed from where the nodes cannot have it from.
    """
    pins, wheels = set(), []
    for name, distribution in sorted(_distributions().items()):
        if name in ours:
            continue
        origin = _origin(distribution)
        if origin is None:
            pins.add(f"{name}=={distribution.version}")
        else:
            wheels.append(_wheel(environment, name, origin))
    return tuple(sorted(pins)), wheels


def _distributions() -> dict[str, Distribution]:
    """Return what is installed in this environment by canonical name; the first on the path is what imports find."""
    prefix = Path(sys.prefix).resolve()
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        place = Path(str(distribution.locate_file(""))).resolve()
        # a source folder on the path may hold build remains (*.egg-info): they say nothing of what was installed
        if prefix in place.parents and "site-packages" in place.parts:
            found.setdefault(canonical(distribution.metadata["Name"]), distribution)
    return found


def _origin(distribution: Distribution) -> dict[str, Any] | None:
    """Return where a distribution came from if not from an index (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    if text is not None:
        origin: dict[str, Any] = json.loads(text)
        return origin
    if distribution.read_text("RECORD") is None:
        return {"url": "an installer that left no RECORD"}
    return None


def _wheel(environment: Environment, name: str, origin: dict[str, Any]) -> Wheel:
    url = str(origin.get("url", ""))
    place = Path(unquote(urlsplit(url).path))
    if url.startswith("file:") and "dir_info" in origin and place.is_dir():
        return project.build(place)
    if url.startswith("file:") and place.suffix == ".whl" and place.is_file():
        with tempfile.TemporaryDirectory(prefix="timeeval-wheel-") as scratch:
            copy = Path(shutil.copyfile(place, Path(scratch, place.name)))
            return Wheel(wheel_store(), keep(copy, wheel_store()))
    raise UsageError(
        f"{name} was installed on the driver from {url or 'an unknown place'}, where no wheel for nodes comes from",
        remedy=f"install it from a folder or a wheel on this machine, or name requirements for {environment.prefix}",
    )
