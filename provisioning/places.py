"""Which folders of which nodes are one and the same place, because the nodes share storage."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from provisioning.errors import NodeError, ProvisionError
from provisioning.locks import HOLD, SILENCE_SECONDS, let_go
from provisioning.parallel import for_each, together

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Conversation, Session


def leaders(
    cluster: Cluster,
    nodes: Iterable[Node],
    sessions: Mapping[str, Session],
    paths: Iterable[str],
    lines: dict[str, Conversation] | None = None,
) -> tuple[dict[tuple[str, str], str], dict[str, ProvisionError]]:
    """Find out which node acts for each place.

    Every node leaves a random token in every folder (or in the nearest one above that exists) and looks for those of
    the others; what it sees there, it shares.

    Parameters
    ----------
    cluster : Cluster
    nodes : iterable of Node
    sessions : mapping of str to Session
        Node name -> open session.
    paths : iterable of str
        Folders on the nodes, absolute; they need not exist.
    lines : dict or None
        Gets the lines to the nodes, node name -> one that can go on to lock folders; without it they are closed.

    Returns
    -------
    places : dict
        (node name, path) -> name of the node that acts for this place, the first of `nodes` that shares it.
    errors : dict
        Node name -> why it did not take part.
    """
    nodes, wanted = list(nodes), sorted(set(paths))
    order = [node.name for node in nodes]
    if len(nodes) < 2:
        return {(name, path): name for name in order for path in wanted}, {}
    run = secrets.token_hex(8)
    errors: dict[str, ProvisionError] = {}
    talks: dict[str, Conversation] = {}

    def ask(action: str) -> dict[str, dict[str, list[str]]]:
        def one(node: Node) -> dict[str, list[str]]:
            if node.name not in talks:
                talks[node.name] = sessions[node.name].open(HOLD, {"silence": SILENCE_SECONDS}, more=True)
            args = {"action": action, "run": run, "node": node.name, "paths": wanted}
            talks[node.name].send({"do": "mark", "args": args})
            answer = talks[node.name].receive()
            if answer is None:
                raise NodeError("it left before all had looked", host=node.name, remedy="run the command again")
            seen: dict[str, list[str]] = answer["seen"]
            return seen

        present = [node for node in nodes if node.name not in errors]
        answers = for_each(present, one, parallel=cluster.limits.parallel)
        errors.update({name: answer for name, answer in answers.items() if isinstance(answer, ProvisionError)})
        return {name: answer for name, answer in answers.items() if not isinstance(answer, ProvisionError)}

    try:
        ask("leave")
        try:
            seen = ask("look")
        finally:
            ask("remove")
    finally:
        if lines is None:
            together(partial(let_go, talk) for talk in talks.values())
        else:
            lines.update(talks)
    found = {}
    for name, answer in seen.items():
        if name not in errors:
            for path in wanted:
                sharers = {name, *answer[path]} - errors.keys()
                found[name, path] = next(other for other in order if other in sharers)
    return found, errors
