"""Nodes that are reached through another machine: OpenSSH makes the way for the other two stacks."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from provisioning.ssh import Endpoint

__all__ = ["proxy_argv", "proxy_socket"]


def proxy_argv(endpoint: Endpoint) -> list[str] | None:
    """Give the command whose standard input and output are a connection to a node.

    Parameters
    ----------
    endpoint : Endpoint

    Returns
    -------
    list of str or None
        None where the node is connected to directly.
    """
    if endpoint.proxy_command is not None:
        return ["/bin/sh", "-c", f"exec {endpoint.proxy_command}"]
    if endpoint.proxy_jump is None:
        return None
    *before, last = endpoint.proxy_jump.split(",")
    config = ["-F", str(endpoint.ssh_config)] if endpoint.ssh_config is not None else []
    known = " ".join(f'"{file}"' for file in endpoint.known_hosts)
    hops = ["-J", ",".join(before)] if before else []
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=none"]
    target = f"[{endpoint.hostname}]:{endpoint.port}"
    last = last if last.startswith("ssh://") else f"ssh://{last}"
    return ["ssh", *config, *(part for option in options for part in ("-o", option)), *hops, "-W", target, last]


def proxy_socket(endpoint: Endpoint) -> socket.socket | None:
    """Open the way to a node that is reached through another machine.

    Parameters
    ----------
    endpoint : Endpoint

    Returns
    -------
    socket.socket or None
        Connected to the node's SSH server; closing it ends the way. None where the node is connected to directly.
    """
    argv = proxy_argv(endpoint)
    if argv is None:
        return None
    import socket

    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno())
    threading.Thread(target=process.wait, daemon=True).start()
    return ours
