"""`trust`: ask nodes for their host keys, show the fingerprints, record them in the cluster's own known_hosts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from provisioning.host_keys import host_keys
from provisioning.parallel import for_each
from provisioning.ssh import Endpoint, OpenSSHError, explain, openssh_argv, resolve

if TYPE_CHECKING:
    from provisioning.errors import ProvisionError
    from provisioning.inventory import Cluster, Node

__all__ = ["Trust", "fingerprint", "run"]


@dataclass(frozen=True, slots=True)
class Trust:
    """A host key and what was done with it.

    Attributes
    ----------
    node : str
    name : str
        Under which known_hosts lists it.
    key : str
        ``"ssh-ed25519 AAAA…"``; empty when the node did not show one.
    fingerprint : str
        As `ssh-keygen -l` shows it.
    before : tuple of str
        Fingerprints on record for that name, other than this one.
    state : {"known", "offered", "recorded", "refused", "failed"}
    error : ProvisionError or None
        Why no key was shown.
    """

    node: str
    name: str
    key: str = ""
    fingerprint: str = ""
    before: tuple[str, ...] = ()
    state: Literal["known", "offered", "recorded", "refused", "failed"] = "offered"
    error: ProvisionError | None = None


def fingerprint(key: str) -> str:
    """Give a public key's fingerprint, ``SHA256:…``."""
    blob = base64.b64decode(key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def run(cluster: Cluster, nodes: Sequence[Node], ask: Callable[[Trust], bool]) -> list[Trust]:
    """Show the host keys of nodes and record those that a person accepts.

    Parameters
    ----------
    cluster : Cluster
        Its `known_hosts` file is written, atomically and with mode 0600; no other file is.
    nodes : sequence of Node
        The driver's own among them are passed over.
    ask : callable
        Gets an offered key, whose fingerprint is not on record, and says whether to record it.

    Returns
    -------
    list of Trust
        One for each node, in the order of `nodes`.
    """
    remote = [node for node in nodes if not node.is_driver]
    shown = for_each(remote, lambda node: _offer(resolve(cluster, node)), parallel=cluster.limits.parallel)
    changes: list[Trust] = []
    for node in remote:
        offer = shown[node.name]
        if not isinstance(offer, Trust):
            changes.append(Trust(node=node.name, name="", state="failed", error=offer))
            continue
        if offer.state == "offered":
            offer = replace(offer, state="recorded" if ask(offer) else "refused")
        changes.append(offer)
    accepted = [change for change in changes if change.state == "recorded"]
    if accepted:
        _record(cluster.known_hosts, accepted)
    return changes


def _offer(endpoint: Endpoint) -> Trust:
    """Let OpenSSH itself meet the host, proxies and all, and write down the key that it was shown."""
    known = host_keys(endpoint)
    with tempfile.TemporaryDirectory(prefix="timeeval-trust-") as folder:
        file = Path(folder) / "shown"
        asked = replace(endpoint, known_hosts=(file,))
        *options, host = openssh_argv(asked, share=False)
        # The first value of an option counts: no login is wanted, so none is tried.
        first = ["StrictHostKeyChecking=accept-new", "HashKnownHosts=no", "PreferredAuthentications=none"]
        argv = [options[0], *(part for option in first for part in ("-o", option)), *options[1:], host, "/bin/true"]
        answer = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=3 * endpoint.connect_timeout + 10,
        )
        shown = host_keys(endpoint, [file]).trusted
    if not shown:
        raise explain(OpenSSHError(answer.returncode, answer.stderr), endpoint)
    key = shown[0]
    state: Literal["known", "offered"] = "known" if key in known.trusted else "offered"
    before = tuple(fingerprint(old) for old in known.trusted if old != key)
    return Trust(endpoint.node.name, endpoint.host_key_name, key, fingerprint(key), before, state)


def _record(file: Path, accepted: Iterable[Trust]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for change in accepted:
        lines = [line for old in lines if (line := _without(old, change.name, file)) is not None]
        lines.append(f"{change.name} {change.key}")
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _without(line: str, name: str, file: Path) -> str | None:
    """Give a line of known_hosts without a name: None when nothing is left; markers and patterns stay as they are."""
    match = re.fullmatch(r"(\s*)([^\s#@]\S*)(\s.*)", line)
    if match is None:
        return line
    if match[2].startswith("|1|"):
        # Only ssh-keygen can tell whose a hashed name is.
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".timeeval-") as single:
            single.write(line + "\n")
            single.flush()
            found = subprocess.run(["ssh-keygen", "-F", name, "-f", single.name], capture_output=True, check=False)
        return None if found.returncode == 0 else line
    names = [other for other in match[2].split(",") if other != name]
    return f"{match[1]}{','.join(names)}{match[3]}" if names else None
