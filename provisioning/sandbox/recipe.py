"""What an image is made of, and the name that follows from it.

An image's tag is a digest over everything that goes into it, its parent's tag included. Whether it must be built is
then a question of whether the name exists, in this clone or any other on the machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BASE_PLAIN", "BASE_PYTHON", "IMAGES", "NODE", "Recipe", "digest_of"]

IMAGES = Path(__file__).parent / "images"


def digest_of(*parts: bytes) -> str:
    """Give 16 hexadecimal digits that stand for these parts, in this order and with these borders."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image that is built from a folder on top of a parent.

    Parameters
    ----------
    repository : str
        Name without tag.
    context : Path
        Folder with a Dockerfile that starts ``ARG BASE`` and ``FROM ${BASE}``.
    alias : str or None
        A second, fixed name for people's own Dockerfiles to build upon.
    """

    repository: str
    context: Path
    alias: str | None = None

    def tag(self, parent: str) -> str:
        """Give the content-addressed name of this image on top of `parent`.

        Parameters
        ----------
        parent : str
            Full name of the parent image.

        Returns
        -------
        str
            ``repository:digest``.
        """
        parts = [parent.encode()]
        for path in sorted(self.context.rglob("*")):
            if path.is_file():
                executable = b"x" if path.stat().st_mode & 0o100 else b"-"
                parts += [path.relative_to(self.context).as_posix().encode(), executable, path.read_bytes()]
        return f"{self.repository}:{digest_of(*parts)}"


NODE = Recipe("timeeval-sandbox/node", IMAGES / "node")
BASE_PYTHON = Recipe("timeeval-sandbox/base-python", IMAGES / "base-python", "timeeval-demo/base-python:1")
BASE_PLAIN = Recipe("timeeval-sandbox/base-plain", IMAGES / "base-plain", "timeeval-demo/base-plain:1")
