"""Which builder `docker build` uses, on nodes and on the driver (>= 3.8)."""

from __future__ import annotations

import functools
import subprocess


@functools.lru_cache(maxsize=1)
def builder() -> dict[str, str]:
    """Return what chooses the builder: BuildKit where its client is, without attestations that make ids change."""
    done = subprocess.run(
        ["docker", "buildx", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"} if done.returncode == 0 else {"DOCKER_BUILDKIT": "0"}
