"""The errors of three SSH stacks, told in one way: host, cause, remedy."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from provisioning.errors import ProvisionError, UnreachableError
from provisioning.host_keys import host_keys

if TYPE_CHECKING:
    from provisioning.ssh import Endpoint

__all__ = ["AsksMoreError", "OpenSSHError", "explain"]


class AsksMoreError(UnreachableError):
    """A node takes the key and asks for something else as well, which a person has to answer."""


class OpenSSHError(Exception):
    """The OpenSSH client ended before the node answered.

    Parameters
    ----------
    status : int
        Exit status of ssh.
    output : str
        What it said.
    """

    def __init__(self, status: int, output: str) -> None:
        super().__init__(output.strip() or f"ssh ended with status {status}")
        self.status = status


# What OpenSSH says, in the order in which it is looked for: an unknown host key is also a failed verification.
_OPENSSH = (
    ("changed", r"IDENTIFICATION HAS CHANGED|REVOKED HOST KEY"),
    ("unknown", r"host key is known for|Host key verification failed"),
    ("old", r"no matching (?:key exchange method|host key type|cipher|MAC)"),
    ("more", r"Permission denied \((?![^)]*publickey)[^)]+\)"),  # the key was enough for its part
    ("denied", r"Permission denied|Too many authentication failures"),
    ("refused", r"Connection refused"),
    ("timeout", r"timed out|Timeout"),
    ("name", r"Could not resolve hostname"),
    ("network", r"No route to host|Network is unreachable"),
    ("closed", r"Connection (?:closed|reset)|kex_exchange_identification|Broken pipe"),
)
# Exception classes of paramiko, asyncssh and Python, by name, so that no stack is imported to explain another's error.
_CLASSES = {
    "OpenSSHError": "text",
    "BadHostKeyException": "changed",
    "HostKeyNotVerifiable": "untrusted",
    "PasswordRequiredException": "passphrase",
    "KeyImportError": "passphrase",
    "KeyEncryptionError": "passphrase",
    "AuthenticationException": "denied",
    "PermissionDenied": "denied",
    "IncompatiblePeer": "old",
    "KeyExchangeFailed": "old",
    "NoValidConnectionsError": "os",
    "ConnectionLost": "closed",
    "ChannelOpenError": "channel",
    "ChannelException": "channel",
    "EOFError": "closed",
    "TimeoutError": "timeout",
    "gaierror": "name",
    "OSError": "os",
    "SSHException": "paramiko",
}


def explain(error: BaseException, endpoint: Endpoint, *, known: bool | None = None) -> ProvisionError:
    """Say what an error of Fabric/paramiko, OpenSSH or asyncssh means.

    Parameters
    ----------
    error : BaseException
        What the stack raised; for OpenSSH an `OpenSSHError`.
    endpoint : Endpoint
        Who was to be reached.
    known : bool, optional
        Whether a host key of the node was known; looked up when it matters and is not given.

    Returns
    -------
    ProvisionError
        An `UnreachableError` (or the error itself if it is explained already), to be raised by the caller.
    """
    if isinstance(error, ProvisionError):
        return error
    kind = _kind(error)
    if kind == "untrusted":
        if known is None:
            known = bool(host_keys(endpoint).trusted)
        kind = "changed" if known else "unknown"
    cause, remedy = _tell(kind, endpoint, error)
    explained = (AsksMoreError if kind == "more" else UnreachableError)(cause, host=endpoint.node.name, remedy=remedy)
    explained.details = f"{type(error).__name__}: {error}"
    return explained


def _kind(error: BaseException) -> str:
    kind = next((_CLASSES[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _CLASSES), "other")
    text = str(error)
    if kind == "text":
        return next((name for name, pattern in _OPENSSH if re.search(pattern, text)), "other")
    if kind == "paramiko":
        if "not found in known_hosts" in text:
            return "unknown"
        if "No authentication methods available" in text:  # there is neither a key nor an agent
            return "denied"
        return "closed" if "banner" in text or "No existing session" in text or "EOF" in text else "other"
    if kind == "os":
        inner = getattr(error, "errors", None)
        first = next(iter(inner.values())) if isinstance(inner, dict) and inner else error
        return _kind_of_errno(first)
    return kind


def _kind_of_errno(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    kinds = {
        errno.ECONNREFUSED: "refused",
        errno.ETIMEDOUT: "timeout",
        errno.EHOSTUNREACH: "network",
        errno.ENETUNREACH: "network",
        errno.ECONNRESET: "closed",
        errno.EPIPE: "closed",
    }
    if isinstance(number, int) and number in kinds:
        return kinds[number]
    # asyncio folds the errors of several addresses into one text without a number.
    named = (kind for number, kind in kinds.items() if os.strerror(number) in str(error))
    return next(named, "other")


def _tell(kind: str, endpoint: Endpoint, error: BaseException) -> tuple[str, str]:
    where = f"{endpoint.hostname}:{endpoint.port}"
    keys = ", ".join(str(file) for file in endpoint.identity_files) or "no key at all"
    told = {
        "changed": f"the host key of {where} is not the one on record",
        "unknown": f"the host key of {where} is not on record",
        "old": f"the SSH server of {where} offers only algorithms that are no longer safe (SHA-1)",
        "denied": f"{where} does not let {endpoint.user} in with {keys}",
        "more": f"{where} asks {endpoint.user} for more than a key{_asked(error)}",
        "passphrase": f"a private key of {keys} needs a passphrase or cannot be read",
        "refused": f"{where} refuses the connection",
        "timeout": f"{where} did not answer within {endpoint.connect_timeout} s",
        "name": f"the name {endpoint.hostname} cannot be resolved",
        "network": f"there is no route to {where}",
        "closed": f"{where} closed the connection",
        "channel": f"{where} opens no further session",
    }
    return told.get(kind, f"cannot be reached at {where}: {str(error) or type(error).__name__}"), _remedy(
        kind, endpoint
    )


def _asked(error: BaseException) -> str:
    methods = re.search(r"Permission denied (\([^)]+\))", str(error))
    return "" if methods is None else f" {methods[1]}"


def _remedy(kind: str, endpoint: Endpoint) -> str:
    name = endpoint.node.name
    trust = f"timeeval-provision trust {name}"
    table = f'[host."{name}"] in the cluster file'
    keys_file = f"~{endpoint.user}/.ssh/authorized_keys"
    remedies = {
        "changed": f"ask its administrator whether it was reinstalled, compare the fingerprint, then: {trust}",
        "unknown": f"compare its fingerprint and record it: {trust}",
        "old": "update its OpenSSH to 7.2 or later",
        "denied": f"put the public key into {keys_file} there, or set user and key of {table}",
        "more": "let a key suffice for logins from this machine (AuthenticationMethods in its sshd_config)",
        "passphrase": "load it into an ssh-agent (ssh-add), or use a key without a passphrase",
        "refused": f"start sshd there, or set port of {table}",
        "timeout": "see whether the machine is up and no firewall is between",
        "name": f"set address of {table}",
        "network": "see whether the machine is up and in the same network",
        "closed": "see the log of its sshd (MaxStartups, AllowUsers, a full disk)",
        "channel": "raise MaxSessions in its sshd_config",
    }
    return remedies.get(kind, f"try by hand: ssh {name}")
