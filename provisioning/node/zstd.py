"""Whether this machine's zstd reads what we pack, and how that is packed (>= 3.8)."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess

LONG = "--long=27"
"""Window of packed layers: 128 MiB, the most that zstd unpacks unasked; equal files of two folders find each other."""
OLDEST = (1, 4, 5)
"""zstd that knows patches."""


@functools.lru_cache(maxsize=1)
def has_zstd() -> bool:
    """Return whether there is a zstd that reads patches."""
    if shutil.which("zstd") is None:
        return False
    done = subprocess.run(["zstd", "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = re.search(rb"v(\d+)\.(\d+)\.(\d+)", done.stdout)
    return found is not None and tuple(int(part) for part in found.groups()) >= OLDEST
