"""The files that a sandbox writes for its users: the cluster file, an ssh configuration, known hosts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning.sandbox.layout import NodeSpec

__all__ = ["cluster_toml", "known_hosts", "ssh_config", "write_if_changed"]

USER = "bench"
KEY = "id_ed25519"
ROOT = "/srv/timeeval"
NODE_PYTHON = "3.11"


def cluster_toml(name: str, nodes: Sequence[NodeSpec], folder: Path, project: Path | None) -> str:
    """Write the cluster file.

    Parameters
    ----------
    name : str
        Name of the cluster.
    nodes : sequence of NodeSpec
        Its nodes, in order.
    folder : Path
        Folder that the file will lie in; paths on the driver are given relative to it.
    project : Path or None
        Clone of this project, whose examples the cluster is prepared for; None leaves datasets, environment and images
        out.

    Returns
    -------
    str
        TOML text.
    """
    hosts = "node1" if len(nodes) == 1 else f"node[1-{len(nodes)}]"
    lines = [
        "# Written by `timeeval-provision sandbox up`, which writes it anew each time: copy it before you change it.",
        "[cluster]",
        f"name = {_toml(name)}",
        f"hosts = [{_toml(hosts)}]",
        'driver = "local"',
        'scheduler = "node1"',
        f'results = "{ROOT}/results"',
        f'state = "{ROOT}/state"',
        f'user = "{USER}"',
        f'key = "{KEY}"',
        "slots = 1",
        'ssh_config = "ssh_config"',
        'known_hosts = "known_hosts"',
    ]
    for node in nodes:
        lines += ["", f'[host."{node.name}"]', f'address = "{node.address}"']
    if project is not None:
        up = Path(os.path.relpath(project, folder)).as_posix()
        lines += [
            "",
            "[[datasets]]",
            f"source = {_toml(f'{up}/examples/data/nab')}",
            f'path = "{ROOT}/data/nab"',
            "",
            "[environment]",
            f'prefix = "{ROOT}/envs/demo"',
            f'python = "{NODE_PYTHON}"',
            f"requirements = [{_toml(f'{up}/requirements/runtime.lock')}]",
            f"projects = [{_toml(up)}]",
        ]
        for image in ("subsequence-stats", "ar-forecast"):
            lines += [
                "",
                "[[images]]",
                f'name = "timeeval-demo/{image}:1"',
                f"context = {_toml(f'{up}/examples/algorithms/{image}')}",
            ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Write a basic string; JSON's escapes are among TOML's, once nothing but ASCII is left."""
    return json.dumps(text)


def ssh_config(nodes: Sequence[NodeSpec], folder: Path) -> str:
    """Write an ssh configuration with which ``ssh -F FILE node1`` works from anywhere.

    Parameters
    ----------
    nodes : sequence of NodeSpec
        The nodes.
    folder : Path
        Absolute folder of key and known hosts: ssh would look for relative ones where it is called.

    Returns
    -------
    str
        Text of the file.
    """
    lines = ["# Written by `timeeval-provision sandbox up`."]
    for node in nodes:
        lines += [f"Host {node.name}", f"    HostName {node.address}", ""]
    lines += [
        f"Host {' '.join(node.name for node in nodes)}",
        f"    User {USER}",
        f'    IdentityFile "{folder / KEY}"',
        "    IdentitiesOnly yes",
        f'    UserKnownHostsFile "{folder / "known_hosts"}"',
        "    GlobalKnownHostsFile /dev/null",
        "    StrictHostKeyChecking yes",
    ]
    return "\n".join(lines) + "\n"


def known_hosts(nodes: Sequence[NodeSpec], keys: Mapping[str, Sequence[str]]) -> str:
    """Write the known hosts.

    Parameters
    ----------
    nodes : sequence of NodeSpec
        The nodes.
    keys : mapping of str to sequence of str
        Public host keys (``type base64``) by node name.

    Returns
    -------
    str
        One line per node and key, under the node's name and its address.
    """
    return "".join(f"{node.name},{node.address} {key}\n" for node in nodes for key in keys[node.name])


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file at once or not at all, and only when it would differ.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        Its content.

    Returns
    -------
    bool
        Whether it was written.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return True
