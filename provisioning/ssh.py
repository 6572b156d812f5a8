"""How a node is reached: one answer of `ssh -G`, handed as explicit values to OpenSSH, asyncssh and Fabric.

paramiko and asyncssh read ssh configuration differently from OpenSSH (`Include`, `Match`), so only `ssh -G` reads it.
Host keys follow one policy in all three stacks: strict, from the cluster's own known_hosts first and then from the
files that the ssh configuration names, looked up by OpenSSH's own `ssh-keygen -F`.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.host_keys import NO_SHA1, HostKeys, host_keys
from provisioning.inventory import Cluster, Node
from provisioning.proxy import proxy_socket
from provisioning.runtime import runtime_dir
from provisioning.ssh_config import ask, value
from provisioning.ssh_errors import OpenSSHError, explain

if TYPE_CHECKING:
    import fabric
    import paramiko

__all__ = [
    "Endpoint",
    "HostKeys",
    "OpenSSHError",
    "asyncssh_options",
    "explain",
    "fabric_connection",
    "host_keys",
    "openssh_argv",
    "resolve",
]

# Nodes are reached from many threads at once; importing a package with circles in several of them may show it half.
_importing = threading.Lock()
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
KEPT_SECONDS = 60  # after its last use


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything the three SSH stacks are told about one node.

    Attributes
    ----------
    node : Node
    hostname : str
        Name or address that is connected to.
    port : int
    user : str
    identity_files : tuple of Path
        Private keys that exist on the driver, in the order in which they are tried.
    known_hosts : tuple of Path
        Files with host keys, the cluster's own first; they need not exist.
    host_key_alias : str or None
        Name under which the host's key is looked up instead of `hostname`.
    proxy_jump, proxy_command : str or None
        As in the ssh configuration, without tokens.
    agent : str or None
        Socket of the ssh agent; None where none is to be used.
    identities_only : bool
        Whether the agent may only offer the keys of `identity_files`.
    ssh_config : Path or None
        Handed to ``ssh -F``.
    connect_timeout : int
        Seconds.
    """

    node: Node
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    host_key_alias: str | None = None
    proxy_jump: str | None = None
    proxy_command: str | None = None
    agent: str | None = None
    identities_only: bool = False
    ssh_config: Path | None = None
    connect_timeout: int = 10

    @property
    def host_key_name(self) -> str:
        """Name under which known_hosts files list the host."""
        if self.host_key_alias is not None:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"

    def to_json(self) -> str:
        """Write everything as JSON, for a process of this machine."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Endpoint:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        node = values["node"]
        values["node"] = Node(**{**node, "key": node["key"] and Path(node["key"])})
        values["ssh_config"] = values["ssh_config"] and Path(values["ssh_config"])
        for name in ("identity_files", "known_hosts"):
            values[name] = tuple(Path(file) for file in values[name])
        return cls(**values)


def resolve(cluster: Cluster, node: Node) -> Endpoint:
    """Ask OpenSSH how a node is reached; what the cluster file says wins over the ssh configuration.

    Parameters
    ----------
    cluster : Cluster
    node : Node

    Returns
    -------
    Endpoint

    Raises
    ------
    UsageError
        When the ssh configuration cannot be read, or the node is the driver, which is never reached by SSH.
    """
    if node.is_driver:
        raise UsageError(f"{node.name} is this machine, which is never reached by SSH")
    answer = ask(cluster, node)
    hostname, port, user = answer["hostname"][0], int(answer["port"][0]), answer["user"][0]
    tokens = {"h": hostname, "p": str(port), "r": user, "n": node.name, "u": getpass.getuser(), "d": str(Path.home())}
    keys = [str(node.key)] if node.key is not None else [_expand(key, tokens) for key in answer.get("identityfile", [])]
    files = [
        Path(file).expanduser()
        for name in ("userknownhostsfile", "globalknownhostsfile")
        for file in " ".join(answer.get(name, [])).split()
        if file != "none"
    ]
    command = value(answer, "proxycommand")
    agent = answer.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    return Endpoint(
        node=node,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(path for key in keys if (path := Path(key).expanduser()).is_file()),
        known_hosts=tuple(dict.fromkeys((cluster.known_hosts, *files))),
        host_key_alias=value(answer, "hostkeyalias"),
        proxy_jump=value(answer, "proxyjump"),
        proxy_command=None if command is None else _expand(command, tokens),
        agent=_agent_socket(agent),
        identities_only=node.key is not None or value(answer, "identitiesonly") == "yes",
        ssh_config=cluster.ssh_config,
        connect_timeout=cluster.limits.connect_timeout,
    )


def _agent_socket(setting: str) -> str | None:
    if setting == "none":
        return None
    if setting.startswith("$"):
        return os.environ.get(setting[1:])
    return os.environ.get(setting) if setting == "SSH_AUTH_SOCK" else str(Path(setting).expanduser())


def _expand(text: str, tokens: dict[str, str]) -> str:
    return re.sub(r"%([%a-zA-Z])", lambda match: tokens.get(match[1], match[0]) if match[1] != "%" else "%", text)


def _openssh_options(endpoint: Endpoint) -> list[str]:
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": " ".join(f'"{file}"' for file in endpoint.known_hosts),
        "GlobalKnownHostsFile": "none",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        "HostName": endpoint.hostname,
        "Port": str(endpoint.port),
        "User": endpoint.user,
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": str(endpoint.connect_timeout),
        "ConnectionAttempts": "1",
        "ServerAliveInterval": str(KEEPALIVE_SECONDS),
        "ServerAliveCountMax": str(KEEPALIVE_COUNT),
        "RequestTTY": "no",
        "RemoteCommand": "none",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ForkAfterAuthentication": "no",
        "StdinNull": "no",
        "EscapeChar": "none",
        "LogLevel": "ERROR",
    }
    if endpoint.node.key is not None:
        options["IdentityFile"] = f'"{endpoint.node.key}"'
        options["IdentitiesOnly"] = "yes"
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def openssh_argv(endpoint: Endpoint, *, share: bool = True) -> list[str]:
    """Arguments of an OpenSSH client that reaches a node; a constant remote command may follow.

    Parameters
    ----------
    endpoint : Endpoint
    share : bool
        Whether one connection is kept (for `KEPT_SECONDS`) and shared by all that give the same values.

    Returns
    -------
    list of str
        ``["ssh", ..., HOST]``.
    """
    config = ["-F", str(endpoint.ssh_config)] if endpoint.ssh_config is not None else []
    options = _openssh_options(endpoint)
    sharing = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
    if share:
        # Whatever decides whom we trust is part of the socket's name: a connection made under other host keys or with
        # another key is not this one.
        trusted = [file.read_bytes() for file in endpoint.known_hosts if file.is_file()]
        digest = hashlib.sha256(b"\0".join([endpoint.to_json().encode(), *trusted])).hexdigest()[:20]
        path = runtime_dir() / f"{digest}.ssh"
        sharing = ["-o", "ControlMaster=auto", "-o", f"ControlPersist={KEPT_SECONDS}", "-o", f'ControlPath="{path}"']
    return ["ssh", *config, "-T", *options, *sharing, endpoint.node.name]


@contextlib.contextmanager
def _agent_key(endpoint: Endpoint) -> Iterator[paramiko.AgentKey | None]:
    """Find the agent's half of one of our key files: with ``IdentitiesOnly`` no other of its keys may be offered."""
    # paramiko finds an agent by the environment alone.
    if not endpoint.identities_only or endpoint.agent is None or endpoint.agent != os.environ.get("SSH_AUTH_SOCK"):
        yield None
        return
    import paramiko

    public = [Path(f"{file}.pub") for file in endpoint.identity_files]
    ours = {base64.b64decode(file.read_text(encoding="utf-8").split()[1]) for file in public if file.is_file()}
    agent = paramiko.Agent()
    try:
        yield next((key for key in agent.get_keys() if key.asbytes() in ours), None)
    finally:
        agent.close()


def fabric_connection(endpoint: Endpoint) -> fabric.Connection:
    """Open a connection with Fabric, from explicit values and with strict host keys.

    Parameters
    ----------
    endpoint : Endpoint

    Returns
    -------
    fabric.Connection
        Open.

    Raises
    ------
    UnreachableError
        With cause and remedy.
    """
    with _importing:
        import fabric
        import paramiko

    keys = host_keys(endpoint)
    proxy = proxy_socket(endpoint)
    # Empty configurations: Fabric would read ~/.ssh/config and its own files by itself.
    config = fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
    connection = fabric.Connection(
        endpoint.hostname,
        user=endpoint.user,
        port=endpoint.port,
        config=config,
        gateway=False,
        forward_agent=False,
        connect_timeout=endpoint.connect_timeout,
        connect_kwargs={
            "key_filename": [str(file) for file in endpoint.identity_files],
            "allow_agent": endpoint.agent is not None and not endpoint.identities_only,
            "look_for_keys": False,
            "banner_timeout": endpoint.connect_timeout,
            "auth_timeout": 2 * endpoint.connect_timeout,
            "channel_timeout": 2 * endpoint.connect_timeout,
            **({"sock": proxy} if proxy is not None else {}),
        },
    )
    client = connection.client
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    name = endpoint.hostname if endpoint.port == 22 else f"[{endpoint.hostname}]:{endpoint.port}"
    for key in keys.trusted:
        kind, _, blob = key.partition(" ")
        if key not in keys.revoked and (entry := paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {blob}")):
            client.get_host_keys().add(name, kind, entry.key)
    try:
        with _agent_key(endpoint) as connection.connect_kwargs["pkey"]:
            connection.open()
        transport = connection.transport
        transport.set_keepalive(KEEPALIVE_SECONDS)
        if proxy is None:
            import socket

            # paramiko sends keepalives but counts no answers: TCP itself must give a silent peer up.
            silence = KEEPALIVE_SECONDS * KEEPALIVE_COUNT * 1000
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence)
    except Exception as error:
        connection.close()
        raise explain(error, endpoint, known=bool(keys.trusted)) from error
    return connection


def asyncssh_options(endpoint: Endpoint) -> dict[str, Any]:
    """Keywords for `asyncssh.connect`, from explicit values and with strict host keys.

    Parameters
    ----------
    endpoint : Endpoint
        Where it is reached through another machine, ``sock`` must be added: `provisioning.proxy.proxy_socket`.

    Returns
    -------
    dict
    """
    keys = host_keys(endpoint)
    public = [path for file in endpoint.identity_files if (path := Path(f"{file}.pub")).is_file()]
    return {
        "host": endpoint.hostname,
        "port": endpoint.port,
        "username": endpoint.user,
        "config": [],
        "known_hosts": tuple(
            [key.encode() for key in group] for group in (keys.trusted, keys.authorities, keys.revoked)
        ),
        "client_keys": [str(file) for file in endpoint.identity_files],
        # The agent may have them open; who has no other key is told so by Fabric, which comes first.
        "ignore_encrypted": True,
        "agent_path": endpoint.agent,
        "agent_identities": [str(path) for path in public] if endpoint.identities_only else None,
        "agent_forwarding": False,
        **NO_SHA1,
        "preferred_auth": "publickey",
        "password": None,
        "connect_timeout": 3 * endpoint.connect_timeout,  # the hand-shake counts, which takes a while on a busy machine
        "login_timeout": 3 * endpoint.connect_timeout,
        "keepalive_interval": KEEPALIVE_SECONDS,
        "keepalive_count_max": KEEPALIVE_COUNT,
        **({"host_key_alias": endpoint.host_key_alias} if endpoint.host_key_alias is not None else {}),
    }
