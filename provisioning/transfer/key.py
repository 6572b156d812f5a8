"""A key pair that lives as long as one transfer, made and kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pair:
    """A key for one node's way to another: ``ssh-ed25519 AAAA…``, and its private half as OpenSSH reads it."""

    public: str
    private: str = field(repr=False)


def made() -> Pair:
    """Make a key pair."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Pair(public.decode("ascii"), private.decode("ascii"))
