"""Run a person's command on many nodes; nodes that said the same are told of once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from provisioning.asking import let_in
from provisioning.commands import Options, open_cluster
from provisioning.errors import NodeError, ProvisionError, UsageError
from provisioning.launch import open_session
from provisioning.noderange import fold
from provisioning.parallel import for_each
from provisioning.plain import item, plain
from provisioning.runlog import RunLog

if TYPE_CHECKING:
    from provisioning.inventory import Node
    from provisioning.shapes import Shape
    from provisioning.transfer.base import OnNodeEvent

SCHEMA = "timeeval.exec/1"
RUN = "provisioning.node.run_command"
ANSWER: Shape = {"status": int, "output": str, "cut": int, "silent": bool}
MOST = 1 << 20
"""Bytes of output per node that are kept."""

LOGGED = 4096
"""Letters of it that the log keeps."""

GRACE_SECONDS = 30
"""The node itself notices silence; should it fall silent as a whole, the connection is given up a little later."""

Outcome = Mapping[str, Any] | ProvisionError


def execute(
    options: Options, argv: Sequence[str], on_event: OnNodeEvent, *, silence: float | None = None, as_json: bool = False
) -> tuple[int, list[str]]:
    """Run a command on the chosen nodes, all at once.

    Parameters
    ----------
    options : Options
    argv : sequence of str
        Program and arguments; no shell reads them.
    on_event : callable
        Progress of a node.
    silence : float, optional
        Seconds without output after which the command is ended; ``limits.command_timeout`` when None.
    as_json : bool

    Returns
    -------
    tuple of (int, list of str)
        Exit code (4 when it ended with another status than 0 somewhere, 8 when a node was not reached), and lines.
    """
    if not argv:
        raise UsageError("no command is given", remedy="timeeval-provision exec -- uptime")
    cluster, nodes = open_cluster(options)
    patience = float(cluster.limits.command_timeout) if silence is None else silence
    args = {"argv": list(argv), "silence": patience, "most": MOST}

    def one(node: Node) -> dict[str, Any]:
        with open_session(cluster, node) as session:
            return session.call(
                RUN,
                args,
                timeout=patience + GRACE_SECONDS,
                on_event=lambda event: on_event(node.name, event),
                shape=ANSWER,
            )

    with RunLog(cluster, "exec", [node.name for node in nodes]) as kept:
        outcomes = for_each(nodes, one, parallel=cluster.limits.parallel)
        outcomes |= for_each(let_in(cluster, nodes, outcomes), one, parallel=cluster.limits.parallel)
        code = 0
        for outcome in outcomes.values():
            code |= outcome.exit_code if isinstance(outcome, ProvisionError) else _code(outcome)
        kept.finish([json.dumps(_document(name, _short(outcome))) for name, outcome in outcomes.items()], code)
    if as_json:
        return code, [json.dumps(_document(name, outcome)) for name, outcome in outcomes.items()]
    return code, list(folded(outcomes, patience))


def _code(outcome: Mapping[str, Any]) -> int:
    return 0 if outcome["status"] == 0 and not outcome["silent"] else NodeError.exit_code


def _short(outcome: Outcome) -> Outcome:
    """Return an outcome as the log keeps it."""
    return outcome if isinstance(outcome, ProvisionError) else {**outcome, "output": outcome["output"][:LOGGED]}


def _document(name: str, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ProvisionError):
        error = {"kind": type(outcome).__name__, "message": outcome.message, "remedy": outcome.remedy}
        return {"schema": SCHEMA, "node": name, "error": error}
    return {"schema": SCHEMA, "node": name, "error": None, **outcome}


def folded(outcomes: Mapping[str, Outcome], patience: float) -> Iterator[str]:
    """Write what nodes said for people: once per text, with the names of the nodes folded in front of it.

    Parameters
    ----------
    outcomes : mapping
        Node name -> what `provisioning.node.run_command` answered, or why it did not.
    patience : float
        Seconds of silence that were allowed.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    errors: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, ProvisionError):
            text = outcome.message if outcome.remedy is None else f"{outcome.message}; {outcome.remedy}"
            errors.setdefault(text, []).append(name)
        else:
            groups.setdefault((_ending(outcome, patience), plain(outcome["output"])), []).append(name)
    for (ending, output), names in groups.items():
        yield f"{fold(names)}:{ending}"
        if output:
            yield output.rstrip("\n")
    for text, names in errors.items():
        yield item(f"error {fold(names)}: {text}")


def _ending(outcome: Mapping[str, Any], patience: float) -> str:
    told = ""
    if outcome["silent"]:
        told = f" said nothing for {patience:g} s and was ended"
    elif outcome["status"] < 0:
        told = f" was ended by signal {-outcome['status']}"
    elif outcome["status"]:
        told = f" ended with status {outcome['status']}"
    return told + (f" ({outcome['cut']} bytes of output are left out)" if outcome["cut"] else "")
