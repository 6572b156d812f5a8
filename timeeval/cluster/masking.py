"""What of a command may stand in results, which people hand on: all but what looks like a secret."""

from provisioning.masking import arguments

__all__ = ["arguments"]
