"""Where this user's sockets and hand-over files stand on the driver."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from provisioning.errors import ProvisionError

__all__ = ["runtime_dir"]


def runtime_dir() -> Path:
    """Folder of this user alone (mode 0700) for sockets and hand-over files.

    Raises
    ------
    ProvisionError
        When somebody else made it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "timeeval" if base and Path(base).is_dir() else Path(f"/tmp/timeeval-{os.getuid()}")  # noqa: S108
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ProvisionError(
            f"{folder} is not a folder of this user alone", remedy="remove it, or set XDG_RUNTIME_DIR to a private one"
        )
    return folder
