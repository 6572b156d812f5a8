"""Where a dataset folder lies on this machine, if not at its path.

A cluster's datasets have one path on all nodes, but the driver may keep them elsewhere (``source`` in
``cluster.toml``). Scripts name the path; the session that runs them says here where the content is.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_locations: dict[Path, Path] = {}


def set_locations(mapping: Mapping[str | Path, str | Path]) -> None:
    """Say for the whole process where dataset folders lie.

    Parameters
    ----------
    mapping
        Path on the nodes to folder on this machine. Replaces what was said before; an empty mapping ends it.
    """
    _locations.clear()
    _locations.update({_absolute(path): _absolute(source) for path, source in mapping.items()})


def readable(path: Path) -> Path:
    """Return where a file or folder can be read on this machine.

    Parameters
    ----------
    path
        Path of a dataset folder or of something in it.

    Returns
    -------
    pathlib.Path
        The path itself if it exists or nothing is known about it, else its counterpart in the source folder.
    """
    if not _locations or path.exists():
        return path
    absolute = _absolute(path)
    for folder, source in _locations.items():
        if absolute.is_relative_to(folder):
            return source / absolute.relative_to(folder)
    return path


def _absolute(path: str | Path) -> Path:
    # Not resolve(): the path on the nodes must stay as it was written, whatever links this machine has.
    return Path(os.path.abspath(path))  # noqa: PTH100
