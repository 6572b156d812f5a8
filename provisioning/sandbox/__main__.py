"""``python -m provisioning.sandbox``: the same as ``timeeval-provision sandbox``."""

from __future__ import annotations

import sys

from provisioning.errors import ProvisionError
from provisioning.sandbox.cli import sandbox

if __name__ == "__main__":
    try:
        sandbox()
    except ProvisionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
