"""The control folder inside a managed folder: our marker, what we placed, and where files arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from provisioning.node import tree

CONTROL = ".timeeval-sync"
SCHEMA = "timeeval.sync/1"


def control(folder: str) -> Path:
    """Return the control folder; ValueError when something else has taken its name."""
    path = Path(folder, CONTROL)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ValueError("%s is not a folder, and not ours" % path)
    return path


def stage(folder: str) -> Path:
    """Return the folder in which files arrive; on the same file system as their final names."""
    return control(folder) / "stage"


def read_marker(folder: str) -> Optional[Dict[str, Any]]:
    """Return the marker ``{"schema", "files": {path: row}}``; None when the folder is not ours."""
    marker = tree.read_json(str(control(folder) / "manifest.json"))
    if not isinstance(marker, dict) or marker.get("schema") != SCHEMA or not isinstance(marker.get("files"), dict):
        return None
    return marker


def write_marker(folder: str, marker: Dict[str, Any]) -> None:
    """Write the marker."""
    tree.write_json(str(control(folder) / "manifest.json"), dict(marker, schema=SCHEMA))


def environment_stamp(python: str) -> Optional[List[int]]:
    """Return what changes when an environment is switched, or None when there is no such interpreter.

    An environment is put in place by rename, so the identity of its ``pyvenv.cfg`` file tells which one it is.
    """
    prefix = Path(python).parent.parent
    try:
        Path(python).stat()
        status = (prefix / "pyvenv.cfg").stat()
    except OSError:
        return None
    return [status.st_ino, status.st_mtime_ns]
