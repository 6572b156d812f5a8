"""What can go wrong with the practice cluster itself."""

from __future__ import annotations

from provisioning.errors import ProvisionError

__all__ = ["SandboxError"]


class SandboxError(ProvisionError):
    """The practice cluster could not be started, changed or read."""

    exit_code = 4
