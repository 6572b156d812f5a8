"""What OpenSSH itself says of how a node is reached: ``ssh -G`` is the one reader of ssh configuration."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from provisioning import ssh_answers
from provisioning.errors import ProvisionError, UsageError
from provisioning.host_keys import ASK_SECONDS, stuck

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node

__all__ = ["ask", "ask_ahead", "value"]

READING_SECONDS = 0.2
"""For what has been said already, however late somebody comes for it."""

_VERBOSE = ("debug", "OpenSSH_", "Pseudo-terminal")
"""Begin lines that ``-v`` adds: which files were read."""

_asking: dict[tuple[str, tuple[str, ...]], tuple[subprocess.Popen[str], float]] = {}


def ask(cluster: Cluster, node: Node) -> dict[str, list[str]]:
    """Return keyword (lower case) -> values; what the cluster file says wins over the ssh configuration.

    Raises
    ------
    ProvisionError
        When there is no ssh command, it does not answer, or the ssh configuration cannot be read.
    """
    return _answer(node.name, _asked(cluster, node))


def ask_ahead(cluster: Cluster, nodes: Iterable[Node]) -> None:
    """Let OpenSSH begin to find out how nodes are reached; `ask` then waits for what it says."""
    for node in nodes:
        key = (node.name, _asked(cluster, node))
        if key not in _asking and ssh_answers.recall(*key) is None:
            with contextlib.suppress(OSError):  # which `ask` meets as well, and explains
                _asking[key] = _begin_to_ask(*key)


def _asked(cluster: Cluster, node: Node) -> tuple[str, ...]:
    """Return what the cluster file says, as options of OpenSSH."""
    options = ["-F", str(cluster.ssh_config)] if cluster.ssh_config is not None else []
    if node.address is not None:
        options += ["-o", f"HostName={node.address}"]
    if node.port is not None:
        options += ["-p", str(node.port)]
    if node.user is not None:
        options += ["-l", node.user]
    return tuple(options)


@functools.lru_cache(maxsize=4096)
def _answer(name: str, options: tuple[str, ...]) -> dict[str, list[str]]:
    known = ssh_answers.recall(name, options)
    if known is not None:
        return known
    try:
        begun = _asking.pop((name, options), None)
        asked, until = begun or _begin_to_ask(name, options)
        with asked:
            try:
                # of those that were begun together all may be stuck: they have the same time, not one after the other
                out, err = asked.communicate(timeout=max(READING_SECONDS, until - time.monotonic()))
            except subprocess.TimeoutExpired as late:
                asked.kill()
                raise stuck(f"ssh -G {name}", name, ASK_SECONDS) from late
    except FileNotFoundError as error:
        raise ProvisionError(
            "this machine has no ssh command", remedy="install the OpenSSH client: apt-get install openssh-client"
        ) from error
    if asked.returncode != 0:
        told = [line for line in err.splitlines() if not line.startswith(_VERBOSE)]
        cause = "\n".join(told).strip() or f"`ssh -G {name}` ended with status {asked.returncode}"
        raise UsageError(f"the ssh configuration cannot be used: {cause}", host=name, remedy="mend that file")
    answer = _parse(out)
    ssh_answers.keep(name, options, err, answer)
    return answer


def _begin_to_ask(name: str, options: tuple[str, ...]) -> tuple[subprocess.Popen[str], float]:
    """Ask; return also until when an answer is waited for."""
    argv = ["ssh", "-G", "-v", *options, "--", name]
    pipe = subprocess.PIPE
    asked = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
    return asked, time.monotonic() + ASK_SECONDS


def _parse(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    return values


def value(answer: dict[str, list[str]], keyword: str) -> str | None:
    """Return the first value of a keyword in an answer; None where it has none."""
    value = answer.get(keyword, ["none"])[0]
    return None if value == "none" else value
