"""Which host keys are on record for a node: the one policy that all three SSH stacks follow."""

from __future__ import annotations

import base64
import binascii
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import UnreachableError

if TYPE_CHECKING:
    from provisioning.ssh import Endpoint

__all__ = ["NO_SHA1", "HostKeys", "host_keys"]

NO_SHA1 = {
    "kex_algs": "-*sha1",
    "server_host_key_algs": "-ssh-rsa,ssh-rsa-cert-v01@openssh.com,ssh-dss,ssh-dss-cert-v01@openssh.com",
    "signature_algs": "-ssh-rsa,ssh-dss",
}
"""For `asyncssh.connect`: without what OpenSSH and paramiko refuse of themselves, as SHA-1 vouches for nobody."""

ASK_SECONDS = 30.0
"""How long a program of this machine may take to read a few files."""


@dataclass(frozen=True, slots=True)
class HostKeys:
    """Public keys in the form ``"ssh-ed25519 AAAA…"`` that known_hosts files have for a host."""

    trusted: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()


def stuck(command: str, host: str, seconds: float) -> UnreachableError:
    """Make the error of a program of this machine that does not come back; the host is the one that it is about."""
    return UnreachableError(
        f"`{command}` on this machine did not answer within {seconds:g} s",
        host=host,
        remedy="see whether this machine is overloaded, or a file system hangs that the ssh configuration names",
    )


def host_keys(endpoint: Endpoint, files: Sequence[Path] | None = None) -> HostKeys:
    """Look up a host in known_hosts files, as OpenSSH does: hashed names, patterns, ports and markers included.

    Parameters
    ----------
    endpoint : Endpoint
    files : sequence of Path, optional
        Default: those of the endpoint.

    Returns
    -------
    HostKeys
    """
    found: dict[str, list[str]] = {"": [], "@cert-authority": [], "@revoked": []}
    for file in endpoint.known_hosts if files is None else files:
        if not file.is_file():
            continue
        argv = ["ssh-keygen", "-F", endpoint.host_key_name, "-f", str(file)]
        try:
            answer = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)
        except subprocess.TimeoutExpired as late:
            raise stuck(f"ssh-keygen -F {endpoint.host_key_name}", endpoint.node.name, ASK_SECONDS) from late
        for line in answer.stdout.splitlines():
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if len(fields) >= 3 and not line.startswith("#") and marker in found and _is_base64(fields[2]):
                found[marker].append(f"{fields[1]} {fields[2]}")
    return HostKeys(*(tuple(dict.fromkeys(keys)) for keys in found.values()))


def _is_base64(text: str) -> bool:
    # A damaged line is no key, as for OpenSSH; paramiko and asyncssh would give the whole file up.
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False
