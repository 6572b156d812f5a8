"""Logins at which a node asks a person for more than a key: made once, on the person's terminal, shared by all else.

OpenSSH asks; what is answered is seen by nobody else. The connection is the one that all commands share, under the same
strict host keys, and stays for an hour after its last use. Only OpenSSH can do that: a run needs logins that nobody
answers.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from provisioning import frames
from provisioning.errors import ProvisionError
from provisioning.launch import open_session
from provisioning.ssh import openssh_argv, resolve
from provisioning.ssh_errors import AsksMoreError

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session

__all__ = ["let_in", "open_asking"]

PERSON_SECONDS = 300
KEPT_SECONDS = 3600
ASKING = {
    "BatchMode": "no",
    "PreferredAuthentications": "publickey,keyboard-interactive,password",
    "ControlPersist": str(KEPT_SECONDS),
}


def open_asking(cluster: Cluster, node: Node) -> Session:
    """Connect to a node; where it asks for more than a key, let OpenSSH ask the person at the terminal.

    Parameters
    ----------
    cluster : Cluster
    node : Node

    Returns
    -------
    Session
        As of `provisioning.launch.open_session`.

    Raises
    ------
    UnreachableError
        With cause and remedy, also when nobody is there to be asked, or the answer was not taken.
    """
    try:
        return open_session(cluster, node)
    except AsksMoreError as error:
        if not _somebody_is_there():
            remedy = f"run this from a terminal, where it can be asked for, or {error.remedy}"
            raise AsksMoreError(error.message, host=error.host, remedy=remedy) from error
        _ask(cluster, node, error)
    return open_session(cluster, node)


def let_in(cluster: Cluster, nodes: Sequence[Node], outcomes: MutableMapping[str, Any]) -> list[Node]:
    """Ask for one node after the other that has asked for more, and return those that may be tried again.

    Parameters
    ----------
    cluster : Cluster
    nodes : sequence of Node
    outcomes : mutable mapping
        Node name -> what became of it; where nobody was let in, it is the error afterwards.
    """
    again = []
    for node in nodes:
        if isinstance(outcomes.get(node.name), AsksMoreError):
            try:
                open_asking(cluster, node).close()
            except ProvisionError as error:
                outcomes[node.name] = error
            else:
                del outcomes[node.name]
                again.append(node)
    return again


def _somebody_is_there() -> bool:
    """Tell whether OpenSSH can ask: on the terminal, or by the program that a user has named for that."""
    if os.environ.get("SSH_ASKPASS") and os.environ.get("SSH_ASKPASS_REQUIRE") in {"force", "prefer"}:
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()  # who reads it in the background is stopped
    finally:
        os.close(terminal)


def _ask(cluster: Cluster, node: Node, error: AsksMoreError) -> None:
    client, *arguments = openssh_argv(resolve(cluster, node))
    asking = [
        part for name, value in ASKING.items() for part in ("-o", f"{name}={value}")
    ]  # the first of a name counts
    try:
        status = subprocess.run(
            [client, *asking, *arguments, frames.SHELL],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
            timeout=PERSON_SECONDS,
        ).returncode
    except subprocess.TimeoutExpired:
        status = None
    if status != 0:
        why = f"{PERSON_SECONDS} s were not enough to answer" if status is None else "what was answered did not get in"
        raise AsksMoreError(f"{error.message}; {why}", host=node.name, remedy="try it again") from error
