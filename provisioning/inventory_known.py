"""A cluster file that was checked before: kept as plain data, so that no command loads pydantic for what is unchanged.

What is kept holds for one text and one version of the keys that are allowed (`provisioning.inventory_text`), lies in
the user's own cache folder and is believed only when nobody else could have written it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from provisioning import kept

if TYPE_CHECKING:
    from provisioning.inventory_text import ClusterText, Places

__all__ = ["NoPlaces", "WantsPlacesError", "keep", "recall"]


class WantsPlacesError(Exception):
    """Something is wrong with the file, and only its text tells in which line."""


class NoPlaces:
    """Stands for the `Places` of a text that was not read again."""

    def error(self, *_: object, **__: object) -> NoReturn:
        """Ask for the whole text."""
        raise WantsPlacesError


class _Table(SimpleNamespace):
    def model_dump(self) -> dict[str, Any]:
        return dict(vars(self))


def recall(file: Path) -> tuple[ClusterText, Places] | None:
    """Return what a cluster file says, if just this was checked before; None when it has to be read in full."""
    known = kept.recall(_store(file))
    try:
        if known is None or known["of"] != _identity(file):
            return None
        said = known["text"]
        ports = said["ports"]
        text = _Table(
            **{name: _Table(**said[name]) for name in ("cluster", "push", "limits")},
            **{name: [_Table(**table) for table in said[name]] for name in ("datasets", "environment", "images")},
            ports=_Table(**{**ports, "workers": ports["workers"] and tuple(ports["workers"])}),
            groups=said["groups"],
            host={name: _Table(**table) for name, table in said["host"].items()},
        )
    except (AttributeError, KeyError, OSError, TypeError):
        return None
    return cast("ClusterText", text), cast("Places", NoPlaces())


def keep(file: Path, text: ClusterText) -> None:
    """Remember what a cluster file says."""
    kept.keep(_store(file), {"of": _identity(file), "text": text.model_dump(mode="json")})


def _store(file: Path) -> Path:
    return kept.cache_folder() / "clusters" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:32]}.json"


def _identity(file: Path) -> str:
    keys = Path(__file__).with_name("inventory_text.py")
    return hashlib.sha256(hashlib.sha256(keys.read_bytes()).digest() + file.read_bytes()).hexdigest()
